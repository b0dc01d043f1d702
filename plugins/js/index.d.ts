// The types of the package. README.md has examples.

/** The type of an output column. It matters only for JSONL output, because CSV has no types. */
export type ColumnType = "inherit" | "text" | "integer" | "number" | "boolean" | "timestamp";

/** A handle to an input column that the plugin reads. It also stands for the output column of the same values. */
export interface Column {
    readonly name: string;
    readonly field: number;
    readonly output: OutputColumn;
}

/** A handle to a column of the output. */
export interface OutputColumn {
    readonly name: string;
    readonly output: OutputColumn;
}

/** A column that can be read: its handle, or the name that `open` passed to `Schema.read`. */
export type Readable = Column | string;

/** A column that can be set: its handle, or the name that `open` used. */
export type Settable = Column | OutputColumn | string;

/** A value of a cell. `null` and `undefined` make the cell empty. */
export type Value = string | number | bigint | boolean | DateTime | null | undefined;

/**
 * A plugin: a class with these functions, or an object. Export it as the default of the package's main module. The name
 * and the version are those in package.json.
 *
 * The host calls `check` and `open` first, then `record` for each record, and `finish` last. No function may be async.
 */
export interface Plugin<Config = Record<string, unknown>> {
    /** Chooses the columns to read and the columns of the output. The host calls this once, before the first record. */
    open(schema: Schema, config: Config): void;
    /** Processes one record: sets cells, emits rows, drops or rejects the record. */
    record(record: InputRecord): void;
    /** Adds rows at the end of the output. The host calls this once per input. */
    finish?(rows: Rows): void;
}

/** A class of plugins, with the settings that hold for all inputs. */
export interface PluginClass<Config = Record<string, unknown>> {
    new (): Plugin<Config>;
    /**
     * True if the result for a record, or the rows of `finish`, depend on earlier records. If this is false, several
     * instances can share a large input, and `finish` is called on only one of them.
     */
    readonly stateful: boolean;
    /** Checks a config without an input. Throws a `Refusal` if the config is wrong. */
    check?(config: Config): void;
}

/** A plugin that is an object instead of a class. */
export interface PluginObject<Config = Record<string, unknown>> extends Plugin<Config> {
    readonly stateful: boolean;
    check?(config: Config): void;
}

/** The columns of an input, and the columns of the output. */
export interface Schema {
    /** The names of the input's columns, in order. For JSONL, the members of the first records. */
    readonly columns: string[];
    readonly format: "csv" | "jsonl";
    /** Reads an input column. Refuses a CSV input without this column. In JSONL, any record may lack it. */
    read(name: string): Column;
    /** Reads an input column. Returns null if a CSV input has no such column. */
    readOptional(name: string): Column | null;
    /** Returns the output column that belongs to an input column, without reading the input column. */
    output(name: string): OutputColumn;
    /** Adds a column at the end of the output. A cell of this column is empty until it is set. */
    add(name: string, type: ColumnType): OutputColumn;
    /** Leaves a column out of the output. */
    drop<C extends Column | OutputColumn>(column: C): C;
    /** Changes the name of a column in the output. */
    rename<C extends Column | OutputColumn>(column: C, name: string): C;
    /** Changes the type of a column in the output. The plugin must set values of that type. */
    convert<C extends Column | OutputColumn>(column: C, type: ColumnType): C;
    /** Sets the columns of the output, and their order. Columns that are added later follow. */
    select(columns: (Column | OutputColumn)[]): void;
    /** Declares that, with the current config, the result for a record depends on earlier records. */
    keepState(): void;
}

/** The record of the current call of `record`. Do not keep it: the next call gets the same object. */
export interface InputRecord {
    /** Returns the field: a text. Null and a missing member of JSONL are an empty text. */
    get(column: Readable): string;
    /** Returns the field as a number. Rejects the record as `bad-value` if the field is not a finite number. */
    number(column: Readable): number;
    numberOrNull(column: Readable): number | null;
    /** Returns the field as a whole number. Rejects the record if the field is not one, or is beyond 2^53. */
    integer(column: Readable): number;
    integerOrNull(column: Readable): number | null;
    /** Returns the field as a time. Rejects the record if the field does not have the form YYYY-MM-DD HH:MM:SS. */
    time(column: Readable, separator?: string): DateTime;
    timeOrNull(column: Readable, separator?: string): DateTime | null;
    /** Sets the output cell. If a cell is set several times, the last value counts. */
    set(column: Settable, value: Value): void;
    /** Leaves the record out of the output. Rows that it emits replace it. */
    drop(): void;
    /** Adds a row to the output, which follows the record or replaces it. */
    emit(): Row;
    /**
     * Rejects the record: throws a `Reject`. With a column, the reason begins with the name of the column and the value
     * of the field.
     */
    reject(code: string, reason: string, column?: Readable): never;
}

/** New rows at the end of the output. */
export interface Rows {
    /** Adds a row to the output. */
    emit(): Row;
}

/** A new row. Its cells are empty until they are set. */
export interface Row {
    set(column: Settable, value: Value): this;
}

/** Sends one record to the rejects, if `record` throws it. */
export class Reject {
    constructor(code: string, reason: string);
    readonly code: string;
    readonly reason: string;
}

/** Fails the whole request, without another attempt. In `check`, it refuses the binding. */
export class Refusal {
    constructor(sentence: string);
    readonly message: string;
}

/** A date of the Gregorian calendar with a time of day, without a time zone. */
export class DateTime {
    private constructor();
    /** Parses YYYY-MM-DD, the separator and HH:MM:SS. Returns null for any other text. */
    static parse(text: string, separator?: string): DateTime | null;
    /** The seconds since 1970-01-01 00:00:00. Every day counts as 86,400 seconds. */
    readonly seconds: number;
    /** The time as YYYY-MM-DDTHH:MM:SS. */
    readonly text: string;
    toString(): string;
    valueOf(): number;
}

/** Returns true if a text consists of one or more of the digits 0 to 9. */
export function isDigits(text: string): boolean;

/** Returns true if a text is a plain decimal number: an optional minus, digits, and optionally a point and digits. */
export function isDecimal(text: string): boolean;

/** Adds a whole number to the counter `name`, which the receipt reports. */
export function count(name: string, delta?: number): void;

/** Writes lines to the host's log. `console.log` and its relatives do the same. */
export const log: {
    trace(message: unknown): void;
    debug(message: unknown): void;
    info(message: unknown): void;
    warn(message: unknown): void;
    error(message: unknown): void;
};
