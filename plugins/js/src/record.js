// One record, in the form that the author of a plugin uses: fields come in from the batch, edits go out to the changes.
// changes.js says why the state is in variables of a function.

import { parseInteger, parseNumber } from "./numbers.js";
import { quotedValue, Reject } from "./reject.js";
import { unwritableSentence } from "./rows.js";
import { GO, STAY } from "./schema.js";
import { areAscii, byteString, fromUtf8 } from "./text.js";
import { DateTime } from "./time.js";
import { cellText } from "./value.js";

/** The code of rejects for values that do not parse or cannot be written. */
const BAD_VALUE = "bad-value";

/**
 * Returns the record of the current call, and what moves it from record to record. One object serves for all records of
 * an input.
 *
 * @param schema the columns, after `plan`
 * @param plan the plan for the host
 * @param changes the writer of the verdicts
 * @param emitted the new rows of the record
 */
export function movingRecord(schema, plan, changes, emitted) {
    /** The number of fields in a record. */
    const width = plan.reads.length;

    // The batch: its byte string, the start of each record and the end of each field.
    let text = "";
    let isAscii = true;
    let starts = null;
    let ends = null;

    // The record: the start of its first field, and the index of the end of its first field.
    let start = 0;
    let first = 0;

    /** The last column of the cells that are set, or -1. */
    let last = -1;
    /** The columns whose last value cannot be written, or null. */
    let unwritable = null;
    let isDropped = false;

    const { addCell } = changes;

    /** Returns the field in a column. */
    function get(column) {
        // A string has no such member. In QuickJS, `typeof` costs more than this look-up.
        const field = column.field ?? schema.field(column).field;
        const at = first + field;
        const value = text.slice(field === 0 ? start : ends[at - 1] + 1, ends[at]);
        return isAscii ? value : fromUtf8(value);
    }

    /** Sets the output cell in a column. */
    function set(column, value) {
        const output = column.output ?? schema.outputNamed(column);
        const index = output.index;
        if (index < 0) {
            return;
        }
        const written = cellText(value, output.isNumber);
        if (index <= last || written === null || unwritable !== null) {
            setAgain(output, written);
        } else if (!hasAlready(output, written)) {
            addCell(index, written);
            last = index;
        }
    }

    /** Returns true if a cell has a text if it is not set. */
    function hasAlready(output, written) {
        const field = output.sourceField;
        if (field < 0) {
            return written === "" && output.source === null;
        }
        if (output.strings !== STAY && isRetyped(output)) {
            return false;
        }
        const at = first + field;
        const from = field === 0 ? start : ends[at - 1] + 1;
        if (isAscii) {
            return ends[at] - from === written.length && text.slice(from, ends[at]) === written;
        }
        return fromUtf8(text.slice(from, ends[at])) === written;
    }

    /** Returns true if a JSON value must be written even if its text stays the same. */
    function isRetyped(output) {
        const isString = text[ends[first + output.sourceField]] === '"';
        return isString && (output.strings === GO || isEmpty(output.sourceField));
    }

    function isEmpty(field) {
        const at = first + field;
        return ends[at] === (field === 0 ? start : ends[at - 1] + 1);
    }

    /** Sets a cell if it, or one behind it, may be set already. A text of null cannot be written. */
    function setAgain(output, written) {
        const { index } = output;
        unwritable ??= new Set();
        if (written === null) {
            unwritable.add(index);
            return;
        }
        unwritable.delete(index);
        const { columns, texts } = changes.takeCells();
        const behind = columns.findIndex((column) => column >= index);
        const at = behind < 0 ? columns.length : behind;
        if (columns[at] === index) {
            texts[at] = written;
        } else if (!hasAlready(output, written)) {
            columns.splice(at, 0, index);
            texts.splice(at, 0, written);
        }
        columns.forEach((column, at) => addCell(column, texts[at]));
        last = columns.at(-1) ?? -1;
    }

    /** Returns the index of the first column that must be written and cannot, or -1. */
    function firstUnwritable() {
        if (unwritable !== null && unwritable.size > 0 && !isDropped) {
            return Math.min(...unwritable);
        }
        return emitted.unwritable();
    }

    /** Rejects the record. With a column, the reason begins with its name and value. Never returns. */
    function reject(code, reason, column) {
        if (column === undefined) {
            throw new Reject(code, reason);
        }
        const { name } = typeof column === "string" ? schema.field(column) : column;
        throw new Reject(code, `${name}: ${quotedValue(get(column))} ${reason}`);
    }

    function number(column) {
        const value = parseNumber(get(column));
        return typeof value === "number" ? value : reject(BAD_VALUE, value, column);
    }

    function integer(column) {
        const value = parseInteger(get(column));
        return typeof value === "number" ? value : reject(BAD_VALUE, value, column);
    }

    function time(column, separator) {
        const value = DateTime.parse(get(column), separator);
        return value ?? reject(BAD_VALUE, `is not a time YYYY-MM-DD${separator ?? " "}HH:MM:SS`, column);
    }

    return {
        /** The object that the author's `record` gets. index.d.ts describes its functions. */
        record: {
            get,
            set,
            number,
            integer,
            time,
            reject,
            numberOrNull: (column) => (get(column) === "" ? null : number(column)),
            integerOrNull: (column) => (get(column) === "" ? null : integer(column)),
            timeOrNull: (column, separator) => (get(column) === "" ? null : time(column, separator)),
            emit: emitted.emit,
            drop() {
                isDropped = true;
            },
        },

        /** Begins a batch. */
        load(batch) {
            text = byteString(batch.bytes);
            isAscii = areAscii(batch.bytes);
            starts = batch.starts;
            ends = batch.ends;
        },

        /** Moves to a record of the batch. */
        moveTo(index) {
            start = starts[index];
            first = index * width;
            last = -1;
            unwritable = null;
            isDropped = false;
        },

        /** Gives the record the verdict of a call that threw nothing. */
        settle() {
            if (unwritable !== null || emitted.count > 0) {
                const column = firstUnwritable();
                if (column >= 0) {
                    changes.reject(new Reject(BAD_VALUE, unwritableSentence(plan.output[column].name)));
                    return;
                }
            }
            if (isDropped) {
                changes.drop();
            } else {
                changes.keep();
            }
        },
    };
}
