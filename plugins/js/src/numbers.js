// Numbers in fields and cells: a text comes in, a number or the fault of the text goes out, and a number's text.

const NOT_DIGIT = /[^0-9]/;
const DECIMAL = /^-?[0-9]+(?:\.[0-9]+)?$/;
const INTEGER = /^[+-]?[0-9]+$/;
const FLOAT = /^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$/;
const NOT_FINITE = /^[+-]?(?:nan|inf|infinity)$/i;

// In QuickJS, a regular expression that matches makes an array. So the usual texts are recognised without one: a text is a
// number if it is the text of the number that it stands for. And `number + ""` is one instruction, but `${number}` a
// call.

/** Returns true if a text consists of one or more of the digits 0 to 9. */
export function isDigits(text) {
    const integer = text | 0;
    return (integer >= 0 && integer + "" === text) || (text !== "" && !NOT_DIGIT.test(text));
}

/** Returns true if a text is a plain decimal number: an optional minus, digits, and optionally a point and digits. */
export function isDecimal(text) {
    return isPlain(+text, text) || DECIMAL.test(text);
}

/** Returns true if a text is the decimal form of a number, without an exponent. */
function isPlain(number, text) {
    const isInRange = number < 1e15 && number > -1e15 && (number >= 1e-6 || number <= -1e-6 || number === 0);
    return isInRange && number + "" === text;
}

/** Returns the number that a text stands for, or the fault of the text: a string such as "is not a number". */
export function parseNumber(text) {
    const usual = +text;
    if (isPlain(usual, text)) {
        return usual;
    }
    if (!FLOAT.test(text)) {
        return NOT_FINITE.test(text) ? "is not a finite number" : "is not a number";
    }
    const number = Number(text);
    return Number.isFinite(number) ? number : "is not a finite number";
}

/** Returns the whole number that a text stands for, or the fault of the text: a string such as "is too large". */
export function parseInteger(text) {
    const usual = text | 0;
    if (usual + "" === text) {
        return usual;
    }
    if (!INTEGER.test(text)) {
        return "is not a whole number";
    }
    const number = Number(text);
    if (Number.isSafeInteger(number)) {
        return number;
    }
    return number > 0 ? "is too large" : "is too small";
}

/**
 * Returns the text of a number: its shortest decimal form, without an exponent. Returns null if the number is not
 * finite.
 */
export function numberText(number) {
    if ((number | 0) === number && number !== 0) {
        return number + "";
    }
    if (number === 0) {
        return Object.is(number, -0) ? "-0" : "0";
    }
    const text = String(number);
    if (!text.includes("e")) {
        return Number.isFinite(number) ? text : null;
    }
    const [mantissa, exponent] = text.split("e");
    const sign = mantissa.startsWith("-") ? "-" : "";
    const [whole, fraction = ""] = mantissa.slice(sign.length).split(".");
    const digits = whole + fraction;
    const point = whole.length + Number(exponent);
    if (point <= 0) {
        return `${sign}0.${"0".repeat(-point)}${digits}`;
    }
    return sign + digits.padEnd(point, "0");
}

/** Returns true if a text is a float that is not finite. Such a text occurs if a plugin formats a float itself. */
export function isNotFinite(text) {
    return NOT_FINITE.test(text.trim());
}
