// Decodes the changes of a batch: the interface's flat lists come in, one outcome for each record goes out. A list that
// breaks a rule of the interface is a fault of this package, and throws an error.

import { byteString, fromUtf8 } from "../text.js";

const EDIT = 1;
const REPLACE = 2;
const DROP = 3;
const REJECT = 4;
const EMIT = 8;

/** Decodes what a plugin returns for an output of `width` columns. */
export class Decoder {
    #width;

    constructor(width) {
        this.#width = width;
    }

    /** Returns the outcome of each record of a batch. */
    outcomes({ verdicts, operands, bytes }, records) {
        const cursor = new Cursor(operands, bytes, this.#width);
        const all = verdicts.length === 0 ? new Uint8Array(records) : verdicts;
        assert(all.length === records, "there is one verdict for each record");
        const outcomes = Array.from(all, (verdict) => cursor.outcome(verdict));
        cursor.assertUsedUp();
        return outcomes;
    }

    /** Returns the rows that the plugin added at the end of the output. */
    rows({ rows, bytes, ends }) {
        const cursor = new Cursor(ends, bytes, this.#width);
        const all = Array.from({ length: rows }, () => cursor.row());
        cursor.assertUsedUp();
        return all;
    }
}

/** Takes integers and their texts together, from front to back. */
class Cursor {
    #integers;
    #text;
    #width;
    #at = 0;
    #end = 0;

    constructor(integers, bytes, width) {
        this.#integers = integers;
        this.#text = byteString(bytes);
        this.#width = width;
    }

    outcome(verdict) {
        switch (verdict) {
            case REPLACE:
                return { verdict: "replaced", rows: this.#rows() };
            case DROP:
                return { verdict: "dropped", rows: [] };
            case REJECT:
                return this.#reject();
            default: {
                assert((verdict & ~(EDIT | EMIT)) === 0, "the verdict is one of the interface");
                const cells = verdict & EDIT ? this.#cells() : [];
                const rows = verdict & EMIT ? this.#rows() : [];
                return { verdict: verdict & EDIT ? "edited" : "kept", cells, rows };
            }
        }
    }

    row() {
        return Array.from({ length: this.#width }, () => this.#next());
    }

    assertUsedUp() {
        assert(this.#at === this.#integers.length, "all integers are used");
        assert(this.#end === this.#text.length, "all texts are used");
    }

    #reject() {
        const code = this.#next();
        assert(/^[a-z0-9-]{1,64}$/.test(code), "the code is valid");
        return { verdict: "rejected", code, reason: this.#next() };
    }

    #cells() {
        const count = this.#integer();
        assert(count > 0, "an edit has a cell");
        const cells = Array.from({ length: count }, () => [this.#integer(), this.#next()]);
        const isFine = ([column], at) => column < this.#width && (at === 0 || cells[at - 1][0] < column);
        assert(cells.every(isFine), "columns increase");
        return cells;
    }

    #rows() {
        const count = this.#integer();
        assert(count > 0, "rows follow");
        return Array.from({ length: count }, () => this.row());
    }

    #next() {
        const start = this.#end;
        this.#end = this.#integer();
        assert(start <= this.#end && this.#end <= this.#text.length, "a text is within the bytes");
        return fromUtf8(this.#text.slice(start, this.#end));
    }

    #integer() {
        assert(this.#at < this.#integers.length, "the integers suffice");
        return this.#integers[this.#at++];
    }
}

function assert(isTrue, what) {
    if (!isTrue) {
        throw new Error(`the package ingest-plugin broke a rule of the interface: ${what}`);
    }
}
