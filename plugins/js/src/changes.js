// Encodes the result for a batch: cells, new rows and a verdict for each record come in, the three flat lists of the
// interface go out. The table for the record `changes` in wit/0.1/plugin.wit describes the format.
//
// This module and record.js keep their state in variables of a function instead of members of an object. QuickJS reads
// a variable with one instruction, but looks up a member by its name. Cells go straight into the lists, because each
// element of an array that is written costs as much as the call of a function.

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

/**
 * Returns a writer that collects the changes of one batch at a time. `emitted` has the new rows of a record, and the
 * output has `width` columns.
 */
export function changesWriter(emitted, width) {
    /** The most integers that the cells of a record need: their number, and the column and the end of each. */
    const room = 1 + 2 * width;
    let verdicts = new Uint8Array(0);
    /** The number of records that have a verdict. */
    let settled = 0;
    /** True if each record so far is kept unchanged. */
    let areAllKept = true;

    let integers = new Uint32Array(Math.max(INTEGERS, room));
    /** The number of integers in use. */
    let length = 0;
    /** The texts. `count` of them are in use, and they have `chars` characters. */
    const parts = [];
    let count = 0;
    let chars = 0;

    /** The number of cells of the current record, and the index of this number in `integers`. */
    let cells = 0;
    let header = 0;

    /** Makes room for more integers, in addition to those of the next record's cells. */
    function reserve(more) {
        const needed = length + more + room;
        if (needed > integers.length) {
            const before = integers;
            integers = new Uint32Array(2 * needed);
            integers.set(before);
        }
    }

    function pushText(text) {
        chars += text.length;
        parts[count++] = text;
        integers[length++] = chars;
    }

    function settle(verdict) {
        verdicts[settled++] = verdict;
        areAllKept = false;
        reserve(0);
    }

    /** Adds the rows that the record emitted: their number, and the text of each cell. */
    function pushEmitted() {
        const rows = emitted.count;
        const texts = emitted.take();
        reserve(1 + texts.length);
        integers[length++] = rows;
        texts.forEach(pushText);
    }

    /** Removes the cells of the current record, and returns their columns and texts. */
    function takeCells() {
        const columns = [];
        const texts = [];
        for (let at = 0; at < cells; at++) {
            columns.push(integers[header + 1 + 2 * at]);
            texts.push(parts[count - cells + at]);
        }
        if (cells > 0) {
            count -= cells;
            length = header;
            texts.forEach((text) => {
                chars -= text.length;
            });
            cells = 0;
        }
        return { columns, texts };
    }

    return {
        /** Begins a batch. */
        begin(records) {
            verdicts = new Uint8Array(records);
            settled = 0;
            areAllKept = true;
            length = 0;
            count = 0;
            chars = 0;
            cells = 0;
            emitted.clear();
        },

        /** Changes a cell of the current record. The column is behind those of the cells before. */
        addCell(column, text) {
            if (cells++ === 0) {
                header = length++;
            }
            integers[length++] = column;
            chars += text.length;
            integers[length++] = chars;
            parts[count++] = text;
        },

        takeCells,

        /** Keeps the record, with the cells that were added. */
        keep() {
            let verdict = KEEP;
            if (cells > 0) {
                integers[header] = cells;
                cells = 0;
                verdict = EDIT;
            }
            if (emitted.count > 0) {
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
            takeCells();
            if (emitted.count > 0) {
                pushEmitted();
                settle(REPLACE);
            } else {
                settle(DROP);
            }
        },

        /** Sends the record to the rejects. */
        reject({ code, reason }) {
            takeCells();
            emitted.clear();
            reserve(2);
            pushText(code);
            pushText(reason);
            settle(REJECT);
        },

        /** Returns the result for the batch. */
        finish() {
            parts.length = count;
            let bytes = asciiBytes(parts.join(""));
            if (bytes === null) {
                const texts = parts.map(toUtf8);
                correctEnds(verdicts.subarray(0, settled), integers, texts, width);
                bytes = bytesOf(texts.join(""));
            }
            return {
                verdicts: areAllKept ? new Uint8Array(0) : verdicts,
                operands: integers.slice(0, length),
                bytes,
            };
        },
    };
}

/** Returns the rows that a plugin adds at the end of the output, in the form of the interface. */
export function emittedRows(rows) {
    const count = rows.count;
    const texts = rows.take().map(toUtf8);
    let end = 0;
    const ends = Uint32Array.from(texts, (text) => (end += text.length));
    return { rows: count, bytes: bytesOf(texts.join("")), ends };
}

/** Replaces the end of each text, which counts characters, by the one that counts bytes. */
function correctEnds(verdicts, integers, texts, width) {
    let [at, count, end] = [0, 0, 0];
    const correct = () => {
        end += texts[count++].length;
        integers[at++] = end;
    };
    const correctRows = () => {
        for (let cells = integers[at++] * width; cells > 0; cells--) {
            correct();
        }
    };
    for (const verdict of verdicts) {
        if (verdict === REJECT) {
            correct();
            correct();
        } else if (verdict === REPLACE) {
            correctRows();
        } else if (verdict !== DROP) {
            for (let cells = verdict & EDIT ? integers[at++] : 0; cells > 0; cells--) {
                at += 1;
                correct();
            }
            if (verdict & EMIT) {
                correctRows();
            }
        }
    }
}
