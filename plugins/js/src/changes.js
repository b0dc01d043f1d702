// Encodes the result for a batch: cells, new rows and a verdict for each record come in, the three flat lists of the
// interface go out. The table for the record `changes` in wit/plugin.wit describes the format.
//
// This module and record.js keep their state in variables of a function instead of members of an object. QuickJS reads
// a variable with one instruction, but looks up a member by its name.

import { asciiBytes, bytesOf, toUtf8 } from "./text.js";

// The verdicts of the interface.
const KEEP = 0;
const EDIT = 1;
const REPLACE = 2;
const DROP = 3;
const REJECT = 4;
/** Added to KEEP or EDIT if new rows follow the record. */
const EMIT = 8;

/** The first room for integers. */
const INTEGERS = 1_024;

/** Returns a writer that collects the changes of one batch at a time. `emitted` has the new rows of a record. */
export function changesWriter(emitted) {
    const texts = textList();
    let verdicts = new Uint8Array(0);
    /** The number of records that have a verdict. */
    let settled = 0;
    /** True if each record so far is kept unchanged. */
    let areAllKept = true;

    function settle(verdict) {
        verdicts[settled++] = verdict;
        areAllKept = false;
    }

    function pushEmitted() {
        const count = emitted.count();
        texts.pushRow(count, emitted.take());
    }

    return {
        /** Begins a batch. */
        begin(records) {
            verdicts = new Uint8Array(records);
            settled = 0;
            areAllKept = true;
            texts.clear();
            emitted.clear();
        },

        /** Keeps the record, with `count` cells changed. The columns of the cells increase. */
        keep(columns, cells, count) {
            if (count > 0) {
                texts.pushCells(columns, cells, count);
            }
            const verdict = count > 0 ? EDIT : KEEP;
            if (emitted.count() > 0) {
                pushEmitted();
                settle(verdict + EMIT);
            } else if (verdict === KEEP) {
                settled += 1;
            } else {
                settle(verdict);
            }
        },

        /** Leaves the record out of the output. Rows that it emits replace it. */
        drop() {
            if (emitted.count() > 0) {
                pushEmitted();
                settle(REPLACE);
            } else {
                settle(DROP);
            }
        },

        /** Sends the record to the rejects. */
        reject({ code, reason }) {
            emitted.clear();
            texts.pushAll([code, reason]);
            settle(REJECT);
        },

        /** Returns the result for the batch. */
        finish() {
            const { integers, bytes } = texts.finish();
            return { verdicts: areAllKept ? new Uint8Array(0) : verdicts, operands: integers, bytes };
        },
    };
}

/** Returns the rows that a plugin adds at the end of the output, in the form of the interface. */
export function emittedRows(rows) {
    const count = rows.count();
    const texts = textList();
    texts.pushAll(rows.take());
    const { integers, bytes } = texts.finish();
    return { rows: count, bytes, ends: integers };
}

/** Returns a list of texts, one after the other, and of integers, which contain the end of each text. */
function textList() {
    let integers = new Uint32Array(INTEGERS);
    /** The number of integers in use. */
    let length = 0;
    /** The texts, and for each the index of its end in `integers`. `count` of them are in use. */
    const parts = [];
    const ends = [];
    let count = 0;
    /** The number of characters of all texts. */
    let chars = 0;

    /** Makes room for more integers. */
    function reserve(more) {
        if (length + more > integers.length) {
            const before = integers;
            integers = new Uint32Array(2 * (length + more));
            integers.set(before);
        }
    }

    function push(text) {
        chars += text.length;
        parts[count] = text;
        ends[count++] = length;
        integers[length++] = chars;
    }

    function pushAll(some) {
        reserve(some.length);
        some.forEach(push);
    }

    /** Returns the byte string of all texts, and corrects their ends: until now, they were counted in characters. */
    function inUtf8() {
        let end = 0;
        for (let at = 0; at < count; at++) {
            parts[at] = toUtf8(parts[at]);
            end += parts[at].length;
            integers[ends[at]] = end;
        }
        return parts.join("");
    }

    return {
        clear() {
            length = 0;
            count = 0;
            chars = 0;
        },

        /** Adds texts. */
        pushAll,

        /** Adds the number of rows, and their cells. */
        pushRow(rows, cells) {
            reserve(1);
            integers[length++] = rows;
            pushAll(cells);
        },

        /** Adds the number of cells, and the column and the text of each. */
        pushCells(columns, cells, cellCount) {
            reserve(1 + 2 * cellCount);
            integers[length++] = cellCount;
            for (let at = 0; at < cellCount; at++) {
                const text = cells[at];
                chars += text.length;
                parts[count] = text;
                integers[length++] = columns[at];
                ends[count++] = length;
                integers[length++] = chars;
            }
        },

        /** Returns the integers in use, and the bytes of the texts. */
        finish() {
            parts.length = count;
            const bytes = asciiBytes(parts.join("")) ?? bytesOf(inUtf8());
            return { integers: integers.slice(0, length), bytes };
        },
    };
}
