// CSV of tests: a text comes in, records go out, and back.

/** A field with or without quotes, and what ends it: a comma, the end of a line or the end of the text. */
const FIELD = /("(?:[^"]|"")*"|[^",\r\n]*)(,|\r?\n|$)/y;

/** Returns the records of a CSV text. All have as many fields as the first one. */
export function csvRecords(text) {
    const records = [];
    let record = [];
    let at = 0;
    while (at < text.length || record.length > 0) {
        FIELD.lastIndex = at;
        const found = FIELD.exec(text);
        if (found === null) {
            throw new SyntaxError(`the test's input is not CSV: ${JSON.stringify(text.slice(at, at + 40))}`);
        }
        const [whole, field, end] = found;
        record.push(field.startsWith('"') ? field.slice(1, -1).replaceAll('""', '"') : field);
        at += whole.length;
        if (end !== ",") {
            records.push(record);
            record = [];
        }
    }
    records.forEach((record, number) => {
        if (record.length !== records[0].length) {
            throw new SyntaxError(`record ${number} of the test's input has ${record.length} fields`);
        }
    });
    return records.length > 0 ? records : [[]];
}

/** Returns records as CSV. */
export function csvText(records) {
    return records.map((record) => `${line(record)}\n`).join("");
}

function line(record) {
    if (record.length === 1 && record[0] === "") {
        return '""';
    }
    return record.map((field) => (/[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field)).join(",");
}
