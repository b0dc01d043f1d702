import assert from "node:assert/strict";
import test from "node:test";

import { TextDecoder as OwnDecoder, TextEncoder as OwnEncoder } from "../src/encoding.js";
import {
    areAscii,
    asciiBytes,
    byteStringInChunks,
    bytesInLoop,
    byteString,
    bytesOf,
    fromUtf8,
    isAscii,
    quoted,
    toUtf8,
} from "../src/text.js";
import { randomInteger, randomText } from "./random.js";

test("bytes become a byte string and back, also if they are longer than a chunk", () => {
    for (const length of [0, 1, 255, 8_191, 8_192, 8_193, 20_000]) {
        const bytes = Uint8Array.from({ length }, (_, at) => (at * 7) % 256);
        for (const [there, back] of [
            [byteString, bytesOf],
            [byteStringInChunks, bytesInLoop],
        ]) {
            const text = there(bytes);
            assert.equal(text.length, length);
            assert.equal(text.charCodeAt(length - 1) || 0, bytes.at(-1) ?? 0);
            assert.deepEqual(back(text), bytes);
        }
    }
});

test("one byte outside ASCII is seen at each place", () => {
    for (let length = 0; length < 80; length++) {
        for (const offset of [0, 1, 4]) {
            const bytes = new Uint8Array(offset + length).subarray(offset).fill(0x7f);
            assert(areAscii(bytes));
            for (let at = 0; at < length; at++) {
                for (const byte of [0x80, 0xff]) {
                    bytes[at] = byte;
                    assert(!areAscii(bytes), `${at} of ${length}`);
                }
                bytes[at] = 0;
            }
        }
    }
    assert.deepEqual(asciiBytes("az"), Uint8Array.of(97, 122));
    for (const text of ["a\u0080", "aé", "a\u0100", "😀"]) {
        assert.equal(asciiBytes(text), null);
    }
});

test("texts become UTF-8 as Node's own encoder makes it", () => {
    const random = randomInteger(1);
    for (let round = 0; round < 2_000; round++) {
        const text = randomText(random);
        const expected = new TextEncoder().encode(text);
        const bytes = bytesOf(toUtf8(text));
        assert.deepEqual(bytes, expected, JSON.stringify(text));
        assert.equal(fromUtf8(byteString(bytes)), new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
        assert.equal(isAscii(text), expected.length === text.length);
    }
});

test("half a surrogate pair becomes the replacement character", () => {
    assert.equal(fromUtf8(toUtf8("a\ud83dz")), "a\ufffdz");
    assert.equal(fromUtf8(toUtf8("\ude00")), "\ufffd");
    assert.equal(fromUtf8(toUtf8("\ud83d\ude00")), "😀");
});

test("the decoder and the encoder for other packages do what Node's do", () => {
    const random = randomInteger(2);
    for (let round = 0; round < 5_000; round++) {
        const bytes = Uint8Array.from({ length: random(12) }, () =>
            random(3) === 0 ? random(128) : [0xc3, 0xe2, 0xf0, 0xed, 0xf4, 0x80, 0x9f, 0xa0, 0xbf, 0xef, 0xbb][random(11)],
        );
        for (const ignoreBOM of [false, true]) {
            const expected = new TextDecoder("utf-8", { ignoreBOM }).decode(bytes);
            assert.equal(new OwnDecoder("utf-8", { ignoreBOM }).decode(bytes), expected, bytes.join(" "));
        }
        const isValid = !new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes).includes("\ufffd");
        if (!isValid) {
            assert.throws(() => new OwnDecoder("UTF8", { fatal: true }).decode(bytes), TypeError, bytes.join(" "));
        }
    }
    assert.deepEqual(new OwnEncoder().encode("é€"), new TextEncoder().encode("é€"));
    assert.equal(new OwnDecoder().decode(new Uint8Array([0, 0x61, 0x62]).subarray(1)), "ab");
    assert.throws(() => new OwnDecoder("latin1"), RangeError);
});

test("a value in a reason is quoted as the Rust SDK quotes it", () => {
    assert.equal(quoted(""), '""');
    assert.equal(quoted("a b"), '"a b"');
    assert.equal(quoted('a"b\\c\n\r\t\0'), '"a\\"b\\\\c\\n\\r\\t\\0"');
    assert.equal(quoted("Größe 東京 😀"), '"Größe 東京 😀"');
    assert.equal(quoted("\u00a0\u200b\u0301\u007f\ufeff"), '"\\u{a0}\\u{200b}\\u{301}\\u{7f}\\u{feff}"');
    assert.equal(quoted("\u{e0001}"), '"\\u{e0001}"');
});
