// The columns of input and output: the host's description of the input and the author's choice of columns come in, the
// plan goes out. After `open`, each column knows its place, so that a record needs no lookup.

import { Refusal } from "./reject.js";
import { quoted } from "./text.js";

/** The types of output columns. */
const TYPES = ["inherit", "text", "integer", "number", "boolean", "timestamp"];

// The rules for a cell that is a JSONL string, if the plugin sets the cell to the text that it already has.
/** The string stays a string. */
export const STAY = 0;
/** An empty string becomes null. Any other string stays a string. */
export const STAY_UNLESS_EMPTY = 1;
/** The string becomes a JSON literal with the same text. */
export const GO = 2;

/** A column of the output. */
export class OutputColumn {
    constructor(name, type, source) {
        this.name = name;
        this.type = type;
        /** The index of the input column that provides the cells, or null. */
        this.source = source;
        this.isDropped = false;
        /** The index in the output, or -1 if the column is not in it. `Schema.plan` sets this and what follows. */
        this.index = -1;
        /** The index of the field that provides the cells, or -1 if the plugin reads no such field. */
        this.sourceField = -1;
        this.isNumber = false;
        this.strings = STAY;
        /** A handle of an input column has an output column, too. */
        this.output = this;
    }
}

/** An input column that the plugin reads. */
export class Column {
    constructor(name, field, output) {
        this.name = name;
        /** The index among the fields that cross into the sandbox. */
        this.field = field;
        this.output = output;
    }
}

/** The columns of an input, and the columns of the output. */
export class Schema {
    #format;
    #inputs = [];
    #listed;
    #reads = [];
    /** The handle of each input column that is read, by the index of the column. */
    #columns = new Map();
    /** The index and the output column of each name. */
    #byName = new Map();
    #order = [];
    #keepsState = false;
    /** The handles by the names that `open` used. */
    #fields = new Map();
    #outputs = new Map();

    constructor(input) {
        this.#format = input.format;
        this.#listed = input.columns.length;
        input.columns.forEach((name) => this.#addInput(name));
    }

    /** The names of the input's columns, in order. */
    get columns() {
        return this.#inputs.slice(0, this.#listed);
    }

    /** The format of the input: "csv" or "jsonl". */
    get format() {
        return this.#format;
    }

    /** Reads an input column, and returns its handle. */
    read(name) {
        const { source, output } = this.#find(name);
        let column = this.#columns.get(source);
        if (column === undefined) {
            column = new Column(name, this.#reads.length, output);
            this.#reads.push(source);
            this.#columns.set(source, column);
        }
        this.#fields.set(name, column);
        this.#outputs.set(name, output);
        return column;
    }

    /** Reads an input column like `read`, but returns null if a CSV input has no such column. */
    readOptional(name) {
        return this.#format === "jsonl" || this.#byName.has(name) ? this.read(name) : null;
    }

    /** Returns the output column that belongs to an input column, without reading the input column. */
    output(name) {
        const { output } = this.#find(name);
        this.#outputs.set(name, output);
        return output;
    }

    /** Adds a column at the end of the output. */
    add(name, type) {
        const output = this.#addOutput(name, checkedType(type), null);
        this.#outputs.set(name, output);
        return output;
    }

    /** Leaves a column out of the output. */
    drop(column) {
        column.output.isDropped = true;
        return column;
    }

    /** Changes the name of a column in the output. */
    rename(column, name) {
        column.output.name = String(name);
        return column;
    }

    /** Changes the type of a column in the output. */
    convert(column, type) {
        column.output.type = checkedType(type);
        return column;
    }

    /** Sets the columns of the output, and their order. */
    select(columns) {
        this.#order = columns.map((column) => column.output);
        this.#order.forEach((output) => {
            output.isDropped = false;
        });
    }

    /** Declares that the result for a record depends on earlier records. */
    keepState() {
        this.#keepsState = true;
    }

    /** Returns the plan for the host. From then on, the columns know their places. */
    plan(stateful) {
        const order = this.#order.filter((output) => !output.isDropped);
        if (order.length === 0 && this.#inputs.length > 0) {
            throw new Refusal("the output has no columns, keep one or add one");
        }
        const names = new Set();
        for (const { name } of order) {
            if (names.has(name)) {
                throw new Refusal(`the output has two columns ${quoted(name)}, rename or drop one of them`);
            }
            names.add(name);
        }
        order.forEach((output, index) => this.#place(output, index));
        return {
            reads: Uint32Array.from(this.#reads),
            moreColumns: this.#inputs.slice(this.#listed),
            output: order.map(({ name, type, source }) => ({ name, columnType: type, source })),
            stateful: stateful || this.#keepsState,
        };
    }

    /** Returns the handle of a column that the plugin reads, by its name. */
    field(name) {
        const column = this.#fields.get(name);
        if (column === undefined) {
            throw new TypeError(`column ${quoted(String(name))} is not read: call schema.read in open`);
        }
        return column;
    }

    /** Returns the handle of an output column, by the name that `open` used. */
    outputNamed(name) {
        const output = this.#outputs.get(name) ?? this.#byName.get(name)?.output;
        if (output === undefined) {
            throw new TypeError(`column ${quoted(String(name))} is not in the output: call schema.add in open`);
        }
        return output;
    }

    #place(output, index) {
        output.index = index;
        output.sourceField = this.#columns.get(output.source)?.field ?? -1;
        output.isNumber = output.type === "integer" || output.type === "number";
        if (this.#format === "csv" || output.type === "inherit" || output.type === "text") {
            output.strings = STAY;
        } else {
            output.strings = output.type === "timestamp" ? STAY_UNLESS_EMPTY : GO;
        }
    }

    /** Returns the index of an input column, and its output column. */
    #find(name) {
        const found = this.#byName.get(name);
        if (found !== undefined) {
            return found;
        }
        if (typeof name !== "string") {
            throw new TypeError("the name of a column is a string");
        }
        if (this.#format === "jsonl") {
            return this.#addInput(name);
        }
        const bare = (text) => text.trim().toLowerCase();
        const near = this.columns.find((column) => bare(column) === bare(name));
        const hint = near === undefined ? "" : `; ${quoted(near)} differs only in case or spaces`;
        const columns = this.columns.map(quoted).join(", ");
        throw new Refusal(`the input has no column ${quoted(name)}, it has [${columns}]${hint}`);
    }

    #addInput(name) {
        const source = this.#inputs.length;
        this.#inputs.push(name);
        const found = { source, output: this.#addOutput(name, "inherit", source) };
        if (!this.#byName.has(name)) {
            this.#byName.set(name, found);
        }
        return this.#byName.get(name);
    }

    #addOutput(name, type, source) {
        const output = new OutputColumn(String(name), type, source);
        this.#order.push(output);
        return output;
    }
}

function checkedType(type) {
    if (!TYPES.includes(type)) {
        throw new TypeError(`${quoted(String(type))} is no type of a column: use ${TYPES.join(", ")}`);
    }
    return type;
}
