// Random values of tests. The same seed gives the same values.

/** Returns a function that returns a whole number below its argument. */
export function randomInteger(seed) {
    let state = seed;
    return (below) => {
        // The generator of Park and Miller.
        state = (state * 48_271) % 2_147_483_647;
        return state % below;
    };
}

const CHARS = ["a", "Z", "0", " ", ",", '"', "\n", "\0", "é", "ñ", "ß", "东", "€", "😀", "\u0301", "\ufeff", "\uffff"];

/** Returns a short text. Half of the texts are ASCII. */
export function randomText(random) {
    const kinds = random(2) === 0 ? 8 : CHARS.length;
    return Array.from({ length: random(9) }, () => CHARS[random(kinds)]).join("");
}
