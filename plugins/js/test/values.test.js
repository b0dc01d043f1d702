import assert from "node:assert/strict";
import test from "node:test";

import { DateTime, isDecimal, isDigits, Reject } from "../index.js";
import { numberText, parseInteger, parseNumber } from "../src/numbers.js";
import { quotedValue } from "../src/reject.js";
import { cellText } from "../src/value.js";

test("a number has its shortest decimal form, without an exponent", () => {
    const texts = {
        0: "0",
        2.5: "2.5",
        "-0.1": "-0.1",
        1e21: "1000000000000000000000",
        1.5e22: "15000000000000000000000",
        "-1.25e23": "-125000000000000000000000",
        1e-7: "0.0000001",
        "-1.5e-9": "-0.0000000015",
        123456789012345680000: "123456789012345680000",
    };
    for (const [number, text] of Object.entries(texts)) {
        assert.equal(numberText(Number(number)), text);
    }
    assert.equal(numberText(-0), "-0");
    assert.equal(numberText(Number.MAX_VALUE).length, 309);
    for (const number of [1e21, 5e-324, 1.7976931348623157e308, 123456.789e-12]) {
        assert.equal(Number(numberText(number)), number);
    }
    for (const number of [NaN, Infinity, -Infinity]) {
        assert.equal(numberText(number), null);
    }
});

test("a field is a number in the forms that Rust's parser takes", () => {
    for (const [text, number] of Object.entries({ 1: 1, "-1.5": -1.5, "+1": 1, ".5": 0.5, "5.": 5, "1e3": 1000, "1E-2": 0.01 })) {
        assert.equal(parseNumber(text), number, text);
    }
    for (const text of ["", " 1", "1 ", "0x10", "1,5", "many", "1_000", "--1", ".", "e5", "1e", "٣"]) {
        assert.equal(parseNumber(text), "is not a number", text);
    }
    for (const text of ["NaN", "nan", "-NaN", "inf", "-inf", "+Infinity", "INFINITY", "1e999", "-1e400"]) {
        assert.equal(parseNumber(text), "is not a finite number", text);
    }
});

test("a field is a whole number up to 2^53", () => {
    assert.equal(parseInteger("-12"), -12);
    assert.equal(parseInteger("+007"), 7);
    assert.equal(parseInteger("9007199254740991"), 9_007_199_254_740_991);
    assert.equal(parseInteger("9007199254740992"), "is too large");
    assert.equal(parseInteger("-9007199254740992"), "is too small");
    for (const text of ["", "1.0", "1e3", "many", " 1"]) {
        assert.equal(parseInteger(text), "is not a whole number", text);
    }
});

test("digits and decimals", () => {
    assert(isDigits("0123456789") && !isDigits("") && !isDigits("-1") && !isDigits("1.0") && !isDigits("٣") && !isDigits("1\n"));
    for (const text of ["199", "-31.5", "007.50", "0"]) {
        assert(isDecimal(text), text);
    }
    for (const text of ["", "-", ".5", "5.", "+1", "1e3", "1.2.3", "NaN", "1\n"]) {
        assert(!isDecimal(text), text);
    }
});

test("each value has its text, and others are refused", () => {
    const time = DateTime.parse("2019-02-28 10:00:00");
    const texts = [["é", "é"], [-7, "-7"], [7n, "7"], [true, "true"], [false, "false"], [null, ""], [undefined, ""]];
    for (const [value, text] of [...texts, [time, "2019-02-28T10:00:00"]]) {
        assert.equal(cellText(value, false), text);
    }
    for (const value of [{}, [], new Date(0), () => 1, Symbol("a")]) {
        assert.throws(() => cellText(value, false), TypeError);
    }
    for (const text of ["NaN", " -inf ", "Infinity"]) {
        assert.equal(cellText(text, true), null);
        assert.equal(cellText(text, false), text);
    }
    assert.equal(cellText("none", true), "none");
});

test("each day of the calendar follows the one before", () => {
    const two = (number) => String(number).padStart(2, "0");
    const first = DateTime.parse("0001-01-01 00:00:00").seconds;
    let count = 0;
    for (let year = 1; year <= 2400; year++) {
        for (let month = 0; month <= 13; month++) {
            for (let day = 0; day <= 32; day++) {
                const text = `${String(year).padStart(4, "0")}-${two(month)}-${two(day)}`;
                const midnight = DateTime.parse(`${text} 00:00:00`);
                if (midnight !== null) {
                    assert.equal(midnight.seconds, first + count * 86_400, text);
                    count += 1;
                }
            }
        }
    }
    assert.equal(count, 2400 * 365 + 600 - 24 + 6);
    assert.equal(DateTime.parse("1970-01-01 00:00:00").seconds, 0);
});

test("a time has one form", () => {
    const time = DateTime.parse("2017-10-23 23:59:58");
    assert.equal(`${time}`, "2017-10-23T23:59:58");
    assert.equal(time.seconds, Date.UTC(2017, 9, 23, 23, 59, 58) / 1000);
    assert(DateTime.parse("2017-10-23T23:59:57", "T") < time);
    const bad = [
        "",
        "2019-02-28",
        "2019-02-28 10:00:0",
        "2019-02-28 10:00:000",
        "0000-01-01 00:00:00",
        "2019-02-29 10:00:00",
        "1900-02-29 10:00:00",
        "2019-02-28 24:00:00",
        "2019-02-28 10:60:00",
        "2019-02-28 10:00:60",
        "2019-02-28T10:00:00",
        "2019/02/28 10:00:00",
        "2019-02-28 10-00-00",
        "2019-2 -28 10:00:00",
    ];
    for (const text of bad) {
        assert.equal(DateTime.parse(text), null, text);
    }
});

test("a bad code is repaired, and a long value is cut", () => {
    const codeOf = (code) => new Reject(code, "why").code;
    assert.equal(codeOf("bad-id"), "bad-id");
    assert.equal(codeOf("Bad id_2é"), "bad-id-2-");
    assert.equal(codeOf(""), "unnamed");
    assert.equal(codeOf("é".repeat(70)), "-".repeat(64));
    assert.equal(quotedValue("é".repeat(80)), `"${"é".repeat(80)}"`);
    assert.equal(quotedValue("😀".repeat(81)), `"${"😀".repeat(80)}"...`);
});
