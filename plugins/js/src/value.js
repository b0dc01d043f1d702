// Values of cells: a value of JavaScript comes in, its text goes out.

import { isNotFinite, numberText } from "./numbers.js";
import { DateTime } from "./time.js";

/**
 * Returns the text of a value, or null if the value cannot be written: if it is a number that is not finite, or a text
 * like "NaN" in a column of numbers.
 *
 * @throws {TypeError} if the value has no text that a cell could have
 */
export function cellText(value, isNumber) {
    if (value === null || value === undefined) {
        return "";
    }
    // In QuickJS, `instanceof` and `typeof` take more look-ups.
    if (value.constructor === DateTime) {
        return value.text;
    }
    if (typeof value === "string") {
        return isNumber && isWord(value) && isNotFinite(value) ? null : value;
    }
    if (typeof value === "number") {
        return numberText(value);
    }
    if (typeof value === "boolean" || typeof value === "bigint") {
        return String(value);
    }
    const what = typeof value === "object" ? (value.constructor?.name ?? "object") : typeof value;
    throw new TypeError(`a cell cannot be set to a value of the type ${what}: pass a text`);
}

/** Returns true if a text does not end with a digit, as numbers do. */
function isWord(text) {
    const last = text.charCodeAt(text.length - 1);
    return last < 48 || last > 57;
}
