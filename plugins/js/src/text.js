// Texts and bytes: the UTF-8 of the interface comes in, the strings of JavaScript go out, and back.
//
// QuickJS has neither TextDecoder nor TextEncoder, and its loops over bytes are slow. So a whole batch crosses in one call
// of the engine, as a *byte string*: a string with one character for each byte, whose code is the byte. A byte string of
// ASCII is the text itself, and its offsets are the offsets of the bytes. A field or cell that has other characters is
// converted on its own.

/** The number of bytes that one call turns into characters where the engine has no base64. */
const CHUNK_BYTES = 8_192;

// Base64 is the only way from bytes to a string, and back, on which the engine itself does the loop.
const hasBase64 =
    typeof Uint8Array.prototype.toBase64 === "function" &&
    typeof Uint8Array.fromBase64 === "function" &&
    typeof atob === "function" &&
    typeof btoa === "function";

/** Returns the byte string of some bytes. */
export const byteString = hasBase64 ? (bytes) => atob(bytes.toBase64()) : byteStringInChunks;

/** Returns the bytes of a byte string. */
export const bytesOf = hasBase64 ? (text) => Uint8Array.fromBase64(btoa(text)) : bytesInLoop;

/** Returns the byte string of some bytes, without base64. */
export function byteStringInChunks(bytes) {
    const parts = [];
    for (let at = 0; at < bytes.length; at += CHUNK_BYTES) {
        parts.push(String.fromCharCode.apply(null, bytes.subarray(at, at + CHUNK_BYTES)));
    }
    return parts.join("");
}

/** Returns the bytes of a byte string, without base64. */
export function bytesInLoop(text) {
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at++) {
        const code = text.charCodeAt(at);
        if (code > 255) {
            throw new RangeError("the text is no byte string");
        }
        bytes[at] = code;
    }
    return bytes;
}

/** Returns the bytes of a text if it is ASCII, or null. */
export function asciiBytes(text) {
    let bytes;
    try {
        bytes = bytesOf(text);
    } catch {
        return null;
    }
    return areAscii(bytes) ? bytes : null;
}

/**
 * Returns true if each byte is ASCII. In QuickJS, a loop over words of four bytes is faster than a regular expression.
 */
export function areAscii(bytes) {
    const isAligned = bytes.byteOffset % 4 === 0;
    const words = isAligned ? new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length >> 2) : [];
    const eights = words.length & ~7;
    let all = 0;
    for (let at = 0; at < eights; at += 8) {
        all |=
            words[at] |
            words[at + 1] |
            words[at + 2] |
            words[at + 3] |
            words[at + 4] |
            words[at + 5] |
            words[at + 6] |
            words[at + 7];
    }
    for (let at = 4 * eights; at < bytes.length; at++) {
        all |= bytes[at];
    }
    // The bytes at the end are in the lowest byte, so they are tested by the same mask.
    return (all & 0x80808080) === 0;
}

const NOT_ASCII = /[^\x00-\x7f]/;
const LONE_SURROGATES = /[\ud800-\udfff]/gu;

/** Returns true if each character of a string is ASCII. */
export function isAscii(text) {
    return !NOT_ASCII.test(text);
}

/**
 * Returns the text whose UTF-8 is a byte string.
 *
 * @throws {URIError} if the bytes are not UTF-8
 */
export function fromUtf8(text) {
    return isAscii(text) ? text : decodeURIComponent(escape(text));
}

/** Returns the byte string of a text in UTF-8. A half of a surrogate pair becomes U+FFFD. */
export function toUtf8(text) {
    return isAscii(text) ? text : unescape(encodeURIComponent(text.replace(LONE_SURROGATES, "\ufffd")));
}

const PLAIN = /^[ !#-[\]-~]*$/;
const ESCAPED = escapedChars();
const ESCAPES = { "\0": "\\0", "\t": "\\t", "\n": "\\n", "\r": "\\r", '"': '\\"', "\\": "\\\\", " ": " " };

/** Returns the characters that a text between quotes does not contain as they are, and the space. */
function escapedChars() {
    try {
        return new RegExp('["\\\\\\p{C}\\p{Zl}\\p{Zp}\\p{Zs}\\p{Grapheme_Extend}]', "gu");
    } catch {
        // SpiderMonkey's build for components knows no properties of characters. These are the usual ones.
        return /["\\\0-\x20\x7f-\xa0\xad\u0300-\u036f\u200b-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufe00-\ufe0f\ufeff]/gu;
    }
}

/** Returns a text between double quotes. Characters that a reader cannot see are escaped. */
export function quoted(text) {
    if (PLAIN.test(text)) {
        return `"${text}"`;
    }
    const escape = (char) => ESCAPES[char] ?? `\\u{${char.codePointAt(0).toString(16)}}`;
    return `"${text.replace(ESCAPED, escape)}"`;
}
