// Alarms of base stations: records with the columns
// `id,station_id,alarm_id,parameter_id,start_time,end_time,value,threshold` come in. The same records go out with times
// in ISO 8601, empty cells for values that are not set, and an added column `duration_s`. The plugin in Rust
// (`plugins/alarms`) writes the same bytes.
//
// Times are local times of the station. They have no time zone in the input or in the output. If an alarm has not ended,
// its `end_time` and `duration_s` are empty.

import { DateTime, isDecimal, isDigits } from "ingest-plugin";

/** The text that stations send for a value or a threshold that is not set. */
const NOT_SET = "999999";

export default class Alarms {
    static stateful = false;

    open(schema) {
        const read = (name, type) => schema.convert(schema.read(name), type);
        this.ids = ["id", "station_id", "alarm_id", "parameter_id"].map((name) => read(name, "integer"));
        this.start = read("start_time", "timestamp");
        this.end = read("end_time", "timestamp");
        this.numbers = ["value", "threshold"].map((name) => read(name, "number"));
        this.duration = schema.add("duration_s", "integer");
    }

    record(record) {
        for (const id of this.ids) {
            if (!isId(record.get(id))) {
                record.reject("bad-id", "is not a whole number above zero", id);
            }
        }

        const start = time(record, this.start);
        let end = null;
        let duration = null;
        if (record.get(this.end) !== "") {
            end = time(record, this.end);
            duration = end.seconds - start.seconds;
            if (duration < 0) {
                const fault = `is before the start, "${record.get(this.start)}"`;
                record.reject("ends-before-start", fault, this.end);
            }
        }

        // It is fastest to set cells in the order of the output's columns.
        record.set(this.start, start);
        record.set(this.end, end);
        for (const number of this.numbers) {
            const text = record.get(number);
            if (text !== "" && !isDecimal(text)) {
                record.reject("bad-number", "is not a number", number);
            }
            if (text === NOT_SET) {
                record.set(number, "");
            }
        }
        record.set(this.duration, duration);
    }
}

/** Returns true if a text is a whole number above zero with at most 18 digits, without a sign or leading zeros. */
function isId(text) {
    return isDigits(text) && text.length <= 18 && text[0] !== "0";
}

function time(record, column) {
    const found = DateTime.parse(record.get(column));
    return found ?? record.reject("bad-time", "is not a time YYYY-MM-DD HH:MM:SS", column);
}
