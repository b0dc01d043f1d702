// New rows: the cells that the author sets come in, the text of each cell of each row goes out.

import { cellText } from "./value.js";

/** The value of a cell that cannot be written. */
const UNWRITABLE = Symbol("unwritable");

/** Returns new rows of the output, which has `width` columns. */
export function newRows(schema, width) {
    /** The cells of each row, as texts. */
    let rows = [];

    const all = {
        /** The number of rows. It is a member, because QuickJS reads a member faster than it calls a function. */
        count: 0,

        /** Adds a row to the output, and returns it. */
        emit() {
            const cells = new Array(width).fill("");
            rows.push(cells);
            all.count += 1;
            return {
                /** Sets a cell, and returns this row. */
                set(column, value) {
                    const output = typeof column === "string" ? schema.outputNamed(column) : column.output;
                    if (output.index >= 0) {
                        cells[output.index] = cellText(value, output.isNumber) ?? UNWRITABLE;
                    }
                    return this;
                },
            };
        },

        /** Returns the cells of all rows, row after row, and forgets the rows. */
        take() {
            const cells = rows.flat();
            all.clear();
            return cells;
        },

        clear() {
            rows = [];
            all.count = 0;
        },

        /** Returns the index of the column of the first cell that cannot be written, or -1. */
        unwritable() {
            const row = rows.find((cells) => cells.includes(UNWRITABLE));
            return row === undefined ? -1 : row.indexOf(UNWRITABLE);
        },
    };
    return all;
}

/** Returns the sentence that says that a value of a column cannot be written. */
export function unwritableSentence(name) {
    return `${name}: the plugin's value is not a finite number`;
}
