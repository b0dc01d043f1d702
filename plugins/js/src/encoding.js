// TextDecoder and TextEncoder for engines that lack them, because packages from npm expect them.

import { byteString, bytesOf, fromUtf8, toUtf8 } from "./text.js";

const REPLACEMENT = "\ufffd";
const BYTE_ORDER_MARK = "\ufeff";

/** Encodes texts as UTF-8. */
export class TextEncoder {
    get encoding() {
        return "utf-8";
    }

    encode(text = "") {
        return bytesOf(toUtf8(String(text)));
    }
}

/** Decodes UTF-8. */
export class TextDecoder {
    #isFatal;
    #keepsMark;

    constructor(label = "utf-8", { fatal = false, ignoreBOM = false } = {}) {
        if (!/^\s*(unicode-1-1-)?utf-?8\s*$/i.test(label)) {
            throw new RangeError(`the encoding ${label} is not supported, only utf-8`);
        }
        this.#isFatal = fatal;
        this.#keepsMark = ignoreBOM;
    }

    get encoding() {
        return "utf-8";
    }

    get fatal() {
        return this.#isFatal;
    }

    get ignoreBOM() {
        return this.#keepsMark;
    }

    decode(input = new Uint8Array(0)) {
        const bytes = ArrayBuffer.isView(input)
            ? new Uint8Array(input.buffer, input.byteOffset, input.byteLength)
            : new Uint8Array(input);
        const text = this.#text(byteString(bytes));
        return !this.#keepsMark && text.startsWith(BYTE_ORDER_MARK) ? text.slice(1) : text;
    }

    #text(bytes) {
        try {
            return fromUtf8(bytes);
        } catch (error) {
            if (this.#isFatal) {
                throw new TypeError("the bytes are not UTF-8", { cause: error });
            }
            return bytes.replace(SEQUENCE, decodedOrReplaced);
        }
    }
}

/** A run of ASCII, a sequence of UTF-8, the longest beginning of one, or another byte. */
const SEQUENCE = new RegExp(
    [
        "[\\x00-\\x7f]+",
        "[\\xc2-\\xdf][\\x80-\\xbf]?",
        "\\xe0(?:[\\xa0-\\xbf][\\x80-\\xbf]?)?",
        "[\\xe1-\\xec\\xee\\xef](?:[\\x80-\\xbf][\\x80-\\xbf]?)?",
        "\\xed(?:[\\x80-\\x9f][\\x80-\\xbf]?)?",
        "\\xf0(?:[\\x90-\\xbf](?:[\\x80-\\xbf][\\x80-\\xbf]?)?)?",
        "[\\xf1-\\xf3](?:[\\x80-\\xbf](?:[\\x80-\\xbf][\\x80-\\xbf]?)?)?",
        "\\xf4(?:[\\x80-\\x8f](?:[\\x80-\\xbf][\\x80-\\xbf]?)?)?",
        "[^]",
    ].join("|"),
    "g",
);

function decodedOrReplaced(sequence) {
    try {
        return fromUtf8(sequence);
    } catch {
        return REPLACEMENT;
    }
}
