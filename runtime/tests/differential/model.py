"""Compares what the host reads and writes with what Python's csv and json modules make of the same bytes.

A line of stdin is a case: {"input": HEX, "options": {...}, "ours": {...}}. The first case in which the two differ is
printed, and ends the program with exit code 1. Where they differ by design, a comment below says BY DESIGN.
"""

import csv
import json
import re
import sys

csv.field_size_limit(1 << 30)


class Refused(Exception):
    """The whole input is an error."""


def lines_of(text):
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


# BY DESIGN: an escaped CRLF is one line end. To Python the CR is text and the LF ends the record. No input has this one.
ESCAPED_CRLF = "\ue000"


class Faults:
    """What a raw record has that Python takes in silence."""

    def __init__(self, raw, delimiter, quote, escape, trim):
        self.code = None  # of the reject
        self.is_open = False
        self.ends_with_escape = False  # of an unquoted field
        self.spaces = {}  # behind the quotes of which field, and how many
        at, field, size = 0, 0, len(raw)
        while True:
            while trim and raw[at : at + 1] == " ":
                at += 1
            if quote and raw[at : at + 1] == quote:
                at += 1
                while True:
                    if at >= size:
                        # BY DESIGN: a quote that is never closed is an error. Python takes all that follows as text.
                        self.is_open = True
                        return
                    if raw[at] == escape:
                        at += 2
                        if at > size:
                            self.is_open = True
                            return
                    elif raw[at : at + 2] == quote * 2:
                        at += 2
                    elif raw[at] == quote:
                        at += 1
                        break
                    else:
                        at += 1
                # BY DESIGN: with trim, spaces behind a closing quote are none of the field. Python takes them as text.
                while trim and raw[at : at + 1] == " ":
                    at += 1
                    self.spaces[field] = self.spaces.get(field, 0) + 1
                if at < size and raw[at] not in (delimiter, "\r", "\n"):
                    # BY DESIGN: text after a closing quote is a reject. Python appends it.
                    self.code = self.code or "stray-quote"
                    # An escape has no meaning right behind a quote.
                    at += field not in self.spaces
            while at < size and raw[at] not in (delimiter, "\r", "\n"):
                if raw[at] == escape:
                    if at + 1 == size:
                        # BY DESIGN: an escape with nothing behind it is a reject. Python makes a line end of it.
                        self.code = self.code or "stray-escape"
                        self.ends_with_escape = True
                    at += 1
                elif raw[at] == quote:
                    # BY DESIGN: a quote within an unquoted field is a reject. To Python it is text.
                    self.code = "stray-quote"
                at += 1
            if at >= size or raw[at] != delimiter:
                return
            at, field = at + 1, field + 1


def rows_of(lines, options):
    """Yields the records, each as (raw, fields, faults)."""
    delimiter = options.get("delimiter", ",")
    quote = options.get("quote", '"')
    quote = None if quote == "none" else quote
    escape, comment = (None if options.get(name) == "none" else options.get(name) for name in ("escape", "comment"))
    trim = options.get("trim", False)
    taken, at = [], 0

    def feed():
        nonlocal at
        while at < len(lines):
            line = ""
            while at < len(lines) and (not line or line.endswith(ESCAPED_CRLF)):
                line += lines[at]
                at += 1
                if escape and line.endswith(escape + "\r\n"):
                    before = "".join(taken) + line[:-2]
                    if Faults(before, delimiter, quote, escape, trim).ends_with_escape:
                        line = line[:-2] + ESCAPED_CRLF
            taken.append(line)
            yield line

    how = {"quoting": csv.QUOTE_NONE} if quote is None else {"quotechar": quote}
    reader = csv.reader(feed(), delimiter=delimiter, escapechar=escape, skipinitialspace=trim, **how)
    while at < len(lines):
        line = lines[at]
        if line in ("\n", "\r", "\r\n") or comment and line.startswith(comment):
            at += 1
            continue
        if options.get("blank_rows") == "drop":
            # Python has no rule for them, pandas' skip_blank_lines leaves them, too.
            if not line.rstrip("\r\n").strip(delimiter + (" " if trim else "")):
                at += 1
                continue
        taken.clear()
        fields = [field.replace(ESCAPED_CRLF, "\r\n") for field in next(reader)]
        faults = Faults("".join(taken), delimiter, quote, escape, trim)
        for column, count in faults.spaces.items():
            if faults.code is None and column < len(fields):
                assert fields[column].endswith(" " * count)
                fields[column] = fields[column][:-count]
        yield fields, faults


def names_of(header, options):
    names = [name or f"column_{number}" for number, name in enumerate(header, 1)]
    if len(set(names)) < len(names):
        if options.get("duplicate_columns") != "number":
            raise Refused("two columns of one name")
        seen, taken = {}, set(names)
        for index, name in enumerate(names):
            count = seen[name] = seen.get(name, 0) + 1
            if count > 1:
                while f"{name}_{count}" in taken:
                    count += 1
                seen[name] = count
                names[index] = f"{name}_{count}"
                taken.add(names[index])
    return names


def read_csv(data, options):
    """Returns the columns and the records, each as fields or the code of a reject."""
    # BY DESIGN: Latin-1 is Windows-1252. To Python it has control characters where that has letters.
    encoding = {"latin_1": "cp1252"}.get(options.get("encoding"), options.get("encoding", "utf-8"))
    text = data.decode(encoding).removeprefix("\ufeff")
    lines = lines_of(text)
    skipped = options.get("skip_lines", 0)
    lines = lines_of("".join(lines[skipped:]).removeprefix("\ufeff"))
    rows = list(rows_of(lines, options))
    if not rows or any(faults.is_open for _, faults in rows):
        raise Refused("empty, or a quote is never closed")
    if options.get("header", True):
        header, faults = rows.pop(0)
        if faults.code:
            raise Refused(faults.code)
        columns = names_of(header, options)
    else:
        columns = [f"column_{number}" for number in range(1, len(rows[0][0]) + 1)]
    if options.get("skip_footer"):
        rows = rows[: -options["skip_footer"]]
    records = []
    for fields, faults in rows:
        missing = len(columns) - len(fields)
        if missing > 0 and options.get("short_rows") == "fill":
            fields = fields + [""] * missing
        elif missing < 0 and options.get("long_rows") == "trailing-empty" and not any(fields[len(columns) :]):
            fields = fields[: len(columns)]
        # BY DESIGN: a row of another width is a reject unless an option says otherwise. To Python it is a row.
        code = faults.code or ("ragged-row" if len(fields) != len(columns) else None)
        records.append(code or fields)
    return columns, records


class Rejected(Exception):
    """A record is a reject."""


def members_of(pairs):
    # BY DESIGN: a member that is there twice is a reject. Python takes the last one.
    if len({name for name, _ in pairs}) < len(pairs):
        raise Rejected("duplicate-member")
    return dict(pairs)


def constant(name):
    # BY DESIGN: NaN and Infinity are no JSON. Python reads them.
    raise Rejected("not-json")


def read_jsonl(data):
    """Yields the records, each as an object or the code of a reject."""
    for line in data.decode().split("\n"):
        if not line.strip(" \t\r"):
            continue
        try:
            # Only the members of the record itself are looked at for whether they are there twice.
            value = json.loads(line, parse_constant=constant)
            if not isinstance(value, dict):
                raise Rejected("not-json")
            decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: pairs, parse_constant=constant)
            members_of(decoder.decode(line))
            # BY DESIGN: half of a surrogate pair is no text. Python reads it. Within a value it is left as it is.
            for text in [*value, *value.values()]:
                if isinstance(text, str):
                    text.encode()
            yield value
        except (ValueError, Rejected) as error:
            yield str(error) if isinstance(error, Rejected) else "not-json"


def text_of(value):
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)


def same_value(text, value):
    """Whether a text stands for a value: numbers keep their digits, which Python may write otherwise."""
    if value is None or isinstance(value, str):
        return text == text_of(value)
    return json.loads(text) == value


def expect(what, ours, theirs):
    if ours != theirs:
        raise AssertionError(f"{what}: ours {ours!r}, Python's {theirs!r}")


def written_csv(ours):
    quote = ours["quote"]
    rows = list(csv.reader(lines_of(ours["csv"]), delimiter=ours["delimiter"], quotechar=quote, strict=True))
    return rows[0], rows[1:]


def check_csv(data, options, ours):
    try:
        columns, records = read_csv(data, options)
    except Refused as refused:
        expect(f"refused as {refused}", "error" in ours, True)
        return "refused"
    expect("an error", ours.get("error"), None)
    expect("columns", ours["columns"], columns)
    expect("records", ours["records"], records)
    kept = [record for record in records if isinstance(record, list)]
    expect("CSV that was written", written_csv(ours), (columns, kept))
    objects = [json.loads(line) for line in ours["jsonl"].splitlines()] if ours["jsonl"] else []
    expect("JSONL that was written", objects, [dict(zip(columns, record)) for record in kept])
    return "rejected" if len(kept) < len(records) else "read"


def is_document(data):
    text = data.decode().removeprefix("\ufeff").strip(" \t\r\n\f")
    if text[:1] == "{":
        try:
            json.loads(text.split("\n")[0])
        except ValueError:
            return True
    return text[:1] in ("[", "\x1e")


def check_jsonl(data, ours):
    if "not JSONL: " in ours.get("error", ""):
        # BY DESIGN: a JSON document, and lines of arrays, are refused as a whole. Python reads values.
        expect("a document", True, is_document(data))
        return "refused"
    expect("an error", ours.get("error"), None)
    records = list(read_jsonl(data))
    expect("how many records", len(ours["records"]), len(records))
    for fields, record in zip(ours["records"], records):
        if isinstance(record, str):
            expect("reject", fields, record)
            continue
        expect("fields", len(fields), len(ours["columns"]))
        for name, text in zip(ours["columns"], fields):
            if not same_value(text, record.get(name)):
                raise AssertionError(f"{name}: ours {text!r}, Python's {record.get(name)!r}")
    kept = [record for record in records if isinstance(record, dict)]
    expect("JSONL that was written", [json.loads(line) for line in ours["jsonl"].split("\n") if line], kept)
    if ours["columns"]:
        columns, rows = written_csv(ours)
        expect("columns of CSV", columns, ours["columns"])
        expect("records of CSV", len(rows), len(kept))
        for row, record in zip(rows, kept):
            if not all(same_value(text, record.get(name)) for name, text in zip(columns, row)):
                raise AssertionError(f"CSV that was written: ours {row!r}, Python's {record!r}")
    return "rejected" if len(kept) < len(records) else "read"


def main():
    counts = {}
    for line in sys.stdin:
        case = json.loads(line)
        data, options = bytes.fromhex(case["input"]), case["options"]
        try:
            if options.get("format") == "jsonl":
                what = check_jsonl(data, case["ours"])
            else:
                what = check_csv(data, options, case["ours"])
        except Exception as error:
            print(f"{type(error).__name__}: {error}\ninput {data!r}\noptions {json.dumps(options)}\n{case['ours']}")
            return 1
        counts[what] = counts.get(what, 0) + 1
    print(json.dumps(counts))
    return 0


sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
sys.stdin.reconfigure(encoding="utf-8")
sys.exit(main())
