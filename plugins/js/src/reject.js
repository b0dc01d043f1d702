// Rejects of records, and refusals of inputs. A plugin throws them. They are no errors: they have no stack, which costs
// more than the rest of a reject.

import { quoted } from "./text.js";

/** The number of characters of a value in a reason. */
const VALUE_CHARS_MAX = 80;
const CODE_CHARS_MAX = 64;

/** Sends one record to the rejects. The host continues with the next record. */
export class Reject {
    /**
     * @param {string} code 1 to 64 lowercase letters, digits and dashes. Another code is repaired.
     * @param {string} reason a sentence for people, which names the column and the value
     */
    constructor(code, reason) {
        this.code = repaired(String(code));
        this.reason = String(reason);
    }

    toString() {
        return `${this.code}: ${this.reason}`;
    }
}

/** Fails the whole request, without another attempt. */
export class Refusal {
    /** @param {string} sentence what is wrong, and what to do: lowercase, no period */
    constructor(sentence) {
        this.message = String(sentence);
    }

    toString() {
        return this.message;
    }
}

/** Returns a value in a reason: quoted, escaped and cut. */
export function quotedValue(text) {
    if (text.length <= VALUE_CHARS_MAX) {
        return quoted(text);
    }
    const chars = [...text];
    return chars.length <= VALUE_CHARS_MAX
        ? quoted(text)
        : `${quoted(chars.slice(0, VALUE_CHARS_MAX).join(""))}...`;
}

/** Returns a valid code that is similar to `code`. */
function repaired(code) {
    if (/^[a-z0-9-]{1,64}$/.test(code)) {
        return code;
    }
    const lower = code.replace(/[A-Z]/g, (char) => char.toLowerCase());
    const chars = [...lower].slice(0, CODE_CHARS_MAX);
    return chars.map((char) => (/[a-z0-9]/.test(char) ? char : "-")).join("") || "unnamed";
}
