// Times in the form YYYY-MM-DD HH:MM:SS: a text comes in, seconds for calculations and a cell in ISO 8601 go out.
//
// A text is looked up in parts instead of digit by digit, because a lookup is one step of the engine. Times of one file
// have few days, and a day has few minutes.

/** The largest number of days that are kept. */
const DAYS_MAX = 4_096;

const DAY = /^([0-9]{4})-([0-9]{2})-([0-9]{2})$/;

const twoDigits = (number) => String(number).padStart(2, "0");

/** The seconds of each HH:MM. */
const MINUTES = new Map();
/** The seconds of each :SS. */
const SECONDS = new Map();
for (let minute = 0; minute < 24 * 60; minute++) {
    MINUTES.set(`${twoDigits(Math.floor(minute / 60))}:${twoDigits(minute % 60)}`, minute * 60);
}
for (let second = 0; second < 60; second++) {
    SECONDS.set(`:${twoDigits(second)}`, second);
}

/** The seconds since 1970-01-01 of days that have occurred. */
const days = new Map();

// The last day that occurred with a space behind it: this text, the seconds of the day, and the day with a T behind it.
let lastDay = "";
let lastSeconds = 0;
let lastPrefix = "";

/** A date of the Gregorian calendar with a time of day, without a time zone. */
export class DateTime {
    /** The seconds since 1970-01-01 00:00:00 in the same time zone. Every day counts as 86,400 seconds. */
    seconds;
    /** The time as YYYY-MM-DDTHH:MM:SS. */
    text;

    constructor() {
        throw new TypeError("DateTime.parse makes a time");
    }

    /**
     * Parses YYYY-MM-DD, the separator and HH:MM:SS. Each part must have all its digits, and the date must exist.
     * Returns null for any other text.
     */
    static parse(text, separator) {
        if (text.length !== 19) {
            return null;
        }
        if (separator === undefined || separator === " ") {
            const day = text.slice(0, 11);
            if (day !== lastDay && !enterDay(day)) {
                return null;
            }
            return dateTime(lastSeconds, lastPrefix, text);
        }
        const date = text.slice(0, 10);
        const day = days.get(date) ?? secondsOfDay(date);
        return day === null || text[10] !== separator ? null : dateTime(day, date + "T", text);
    }

    toString() {
        return this.text;
    }

    /** Lets `<`, `>` and `-` work with times. */
    valueOf() {
        return this.seconds;
    }
}

/** Makes a day with a space behind it the last day. Returns false if the text is not one. */
function enterDay(text) {
    const date = text.slice(0, 10);
    const seconds = days.get(date) ?? secondsOfDay(date);
    if (seconds === null || text[10] !== " ") {
        return false;
    }
    lastDay = text;
    lastSeconds = seconds;
    lastPrefix = date + "T";
    return true;
}

/** Returns the time of day at the end of a text, on a day, or null. */
function dateTime(day, prefix, text) {
    const seconds = day + MINUTES.get(text.slice(11, 16)) + SECONDS.get(text.slice(16));
    // In QuickJS, `new` costs half as much again.
    return Number.isNaN(seconds) ? null : { __proto__: DateTime.prototype, seconds, text: prefix + text.slice(11) };
}

/** Returns the seconds from 1970-01-01 to a day, or null if the text is no day of the calendar. */
function secondsOfDay(text) {
    const parts = DAY.exec(text);
    if (parts === null) {
        return null;
    }
    const number = daysSince1970(Number(parts[1]), Number(parts[2]), Number(parts[3]));
    if (number === null) {
        return null;
    }
    if (days.size >= DAYS_MAX) {
        days.clear();
    }
    days.set(text, number * 86_400);
    return number * 86_400;
}

function daysSince1970(year, month, day) {
    if (year === 0 || month < 1 || month > 12 || day < 1 || day > daysInMonth(year, month)) {
        return null;
    }
    // Years are counted from March on, so that a leap day is the last day of its year.
    const [fromMarch, months] = month > 2 ? [year, month - 3] : [year - 1, month + 9];
    const leapDays = Math.floor(fromMarch / 4) - Math.floor(fromMarch / 100) + Math.floor(fromMarch / 400);
    return fromMarch * 365 + leapDays + Math.floor((months * 153 + 2) / 5) + day - 1 - 719_468;
}

function daysInMonth(year, month) {
    if (month === 2) {
        return year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0) ? 29 : 28;
    }
    return [4, 6, 9, 11].includes(month) ? 30 : 31;
}
