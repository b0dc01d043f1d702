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

/** A date of the Gregorian calendar with a time of day, without a time zone. */
export class DateTime {
    /** Use {@link DateTime.parse}. */
    constructor(seconds, text) {
        /** The seconds since 1970-01-01 00:00:00 in the same time zone. Every day counts as 86,400 seconds. */
        this.seconds = seconds;
        /** The time as YYYY-MM-DDTHH:MM:SS. */
        this.text = text;
    }

    /**
     * Parses YYYY-MM-DD, the separator and HH:MM:SS. Each part must have all its digits, and the date must exist.
     * Returns null for any other text.
     */
    static parse(text, separator = " ") {
        if (text.length !== 19 || text[10] !== separator) {
            return null;
        }
        const date = text.slice(0, 10);
        const day = days.get(date) ?? secondsOfDay(date);
        const minute = MINUTES.get(text.slice(11, 16));
        const second = SECONDS.get(text.slice(16));
        if (day === null || minute === undefined || second === undefined) {
            return null;
        }
        return new DateTime(day + minute + second, date + "T" + text.slice(11));
    }

    toString() {
        return this.text;
    }

    /** Lets `<`, `>` and `-` work with times. */
    valueOf() {
        return this.seconds;
    }
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
