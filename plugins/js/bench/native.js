// The alarms job as a loop in Node: node native.js INPUT OUTPUT REJECTS
//
// docs/plugins-js.md compares the plugin with it. The rules are those of examples/alarms. The loop splits lines at
// commas, which is the fastest that JavaScript does, and wrong for quoted fields.

import { readFileSync, writeFileSync } from "node:fs";

const NOT_SET = "999999";
const ID = /^[1-9][0-9]{0,17}$/;
const NUMBER = /^-?[0-9]+(?:\.[0-9]+)?$/;
const TIME = /^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$/;

/** Returns the milliseconds of a time, or throws. A day that does not exist becomes another day, so it is compared. */
function time(text) {
    const iso = text.replace(" ", "T");
    const milliseconds = TIME.test(text) ? Date.parse(`${iso}Z`) : NaN;
    if (Number.isNaN(milliseconds) || !new Date(milliseconds).toISOString().startsWith(iso)) {
        throw new Error("bad-time");
    }
    return milliseconds;
}

function change(fields) {
    if (fields.length !== 8) {
        throw new Error("ragged-row");
    }
    if (!fields.slice(0, 4).every((id) => ID.test(id))) {
        throw new Error("bad-id");
    }
    const start = time(fields[4]);
    let duration = "";
    if (fields[5] !== "") {
        duration = (time(fields[5]) - start) / 1_000;
        if (duration < 0) {
            throw new Error("ends-before-start");
        }
    }
    fields[4] = fields[4].replace(" ", "T");
    fields[5] = fields[5].replace(" ", "T");
    for (const at of [6, 7]) {
        if (fields[at] === NOT_SET) {
            fields[at] = "";
        } else if (fields[at] !== "" && !NUMBER.test(fields[at])) {
            throw new Error("bad-number");
        }
    }
    return `${fields.join(",")},${duration}`;
}

const [input, output, rejects] = process.argv.slice(2);
const [header, ...lines] = readFileSync(input, "utf8").trimEnd().split("\n");
const rows = [`${header},duration_s`];
const rejected = ["record,code,raw"];
for (const [at, line] of lines.entries()) {
    try {
        rows.push(change(line.split(",")));
    } catch (error) {
        rejected.push(`${at + 1},${error.message},"${line.replaceAll('"', '""')}"`);
    }
}
writeFileSync(output, `${rows.join("\n")}\n`);
writeFileSync(rejects, `${rejected.join("\n")}\n`);
