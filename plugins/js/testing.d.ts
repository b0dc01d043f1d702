import type { ColumnType, PluginClass, PluginObject } from "./index.js";

export interface Options {
    /** The config: a value, or its JSON. The default is an empty object. */
    config?: unknown;
    /** The number of records in a batch. The default is 3, so that a small test has several batches. */
    batchRecords?: number;
}

/** The result of a test run. */
export interface Report {
    readonly columns: string[];
    readonly types: ColumnType[];
    readonly rows: string[][];
    /** The rejected records. The first record of the input has the number 1. */
    readonly rejects: { record: number; code: string; reason: string }[];
    /** The number of records, which is the sum of the next five. */
    readonly read: number;
    readonly kept: number;
    readonly edited: number;
    readonly replaced: number;
    readonly dropped: number;
    readonly rejected: number;
    readonly logs: { level: "trace" | "debug" | "info" | "warn" | "error"; message: string }[];
    readonly counters: { [name: string]: number };
    /** Returns the output as CSV, with a header. */
    csv(): string;
    /** Returns the values of the output in a column. */
    column(name: string): string[];
}

/**
 * Runs the plugin on a CSV text whose first line is the header. Throws the `Refusal` with which the plugin refuses the
 * input or the config.
 */
export function run(plugin: PluginClass<any> | PluginObject<any>, csv: string, options?: Options): Report;

/** Checks a config without an input, as the host does before it binds the plugin to a queue. */
export function check(plugin: PluginClass<any> | PluginObject<any>, config?: unknown): void;
