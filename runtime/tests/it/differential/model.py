"""Compares the data that the host reads and writes with the results of Python's csv and json modules.

Each line of stdin is a case: {"input": HEX, "options": {...}, "ours": {...}}. The program prints the first case in
which the two differ, and exits with code 1. A comment with BY DESIGN marks each intended difference.
"""

import csv
import itertools
import json
import re
import sys
import unicodedata

csv.field_size_limit(1 << 30)


class Refused(Exception):
    """The whole input is an error. The host's message must contain one of these texts."""

    def __init__(self, *texts, is_late=False):
        super().__init__(*texts)
        self.is_late = is_late  # true if the error is after the first records

    def is_meant_by(self, error):
        return error is not None and any(text in error for text in self.args)


def lines_of(text):
    return re.findall(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+", text)


# BY DESIGN: an escaped CRLF is one line end. In Python, the CR is text and the LF ends the record. This character
# stands for an escaped CRLF, and no input contains it.
ESCAPED_CRLF = "\ue000"


class Faults:
    """The faults of a raw record that Python accepts without an error."""

    def __init__(self, raw, delimiter, quote, escape, trim):
        self.raw = raw
        self.code = None  # the code of the reject
        self.is_quoted = False  # true if any field is quoted
        self.is_open = False
        self.ends_with_escape = False  # true if an unquoted field ends with an escape
        self.spaces = {}  # by the index of a field: the number of spaces after its closing quote
        at, field, size = 0, 0, len(raw)
        while True:
            while trim and raw[at : at + 1] == " ":
                at += 1
            if quote and raw[at : at + 1] == quote:
                self.is_quoted = True
                at += 1
                while True:
                    if at >= size:
                        # BY DESIGN: a quote that is never closed is an error. Python takes all text after it as the
                        # field.
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
                # BY DESIGN: with `trim`, spaces after a closing quote do not belong to the field. In Python, they do.
                while trim and raw[at : at + 1] == " ":
                    at += 1
                    self.spaces[field] = self.spaces.get(field, 0) + 1
                if at < size and raw[at] not in (delimiter, "\r", "\n"):
                    # BY DESIGN: text after a closing quote is a reject. Python appends it to the field.
                    self.code = self.code or "stray-quote"
                    # Directly after a closing quote, an escape has no meaning.
                    at += field not in self.spaces
            while at < size and raw[at] not in (delimiter, "\r", "\n"):
                if raw[at] == escape:
                    if at + 1 == size:
                        # BY DESIGN: an escape with nothing after it is a reject. Python reads it as a line end.
                        self.code = self.code or "stray-escape"
                        self.ends_with_escape = True
                    at += 1
                elif raw[at] == quote:
                    # BY DESIGN: a quote within an unquoted field is a reject. In Python, it is text.
                    self.code = "stray-quote"
                at += 1
            if at >= size or raw[at] != delimiter:
                return
            at, field = at + 1, field + 1


def rows_of(lines, options):
    """Yields each record as (fields, faults)."""
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
            # Python has no rule for rows whose fields are all empty, and `skip_blank_lines` of pandas keeps these rows.
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


def with_tabs(text, options):
    """Replaces each run of spaces and tabs that separates two fields by one tab, and returns the text."""
    quote, escape, comment = (
        None if options.get(name, default) == "none" else re.escape(options.get(name, default))
        for name, default in (("quote", '"'), ("escape", "none"), ("comment", "none"))
    )
    never = "(?!)"
    comment = re.compile(f"{comment}[^\\r\\n]*" if comment else never)
    inner = f"{escape}.|[^{escape}{quote}]" if escape else f"[^{quote}]"
    quoted = re.compile(f"{quote}(?:{inner}|{quote * 2})*(?:{quote}|$)" if quote else never, re.DOTALL)
    escaped = re.compile(f"{escape}(?:\\r\\n|.)" if escape else never, re.DOTALL)
    out, at, is_line_start, is_field_start = "", 0, True, True
    while at < len(text):
        run = re.compile("[ \t]+").match(text, at)
        if run:
            at, is_field_start = run.end(), True
            if not is_line_start and text[at : at + 1] not in ("", "\r", "\n"):
                out += "\t"
            continue
        found = is_line_start and comment.match(text, at) or is_field_start and quoted.match(text, at)
        is_behind_quote = bool(found)
        found = found or escaped.match(text, at)
        token = found.group() if found else text[at]
        at += len(token)
        out += token
        is_line_start = is_field_start = not found and token in "\r\n"
        if is_behind_quote and text[at : at + 1] not in ("", " ", "\t", "\r", "\n"):
            # Directly after a closing quote, an escape has no meaning.
            out += text[at]
            at += 1
    return out


def alike(text, options, delimiter, quote, counts_rules):
    """Reads a text with a dialect. Returns None if the text contains no record.

    Otherwise returns the number of fields of the first record, the percentage of records with this number, whether any
    field is quoted, and whether a quoted field contains a line end. With `counts_rules`, a record also counts if the
    rules for rows give it this number of fields.
    """
    rows = list(rows_of(lines_of(text), {**options, "delimiter": delimiter, "quote": quote}))
    is_open = bool(rows) and rows[-1][1].is_open
    if is_open:
        rows.pop()
    elif options.get("skip_footer"):
        rows = rows[: -options["skip_footer"]]
    if not rows:
        return None
    width = len(rows[0][0])
    fills = counts_rules and options.get("short_rows") == "fill"
    cuts = counts_rules and options.get("long_rows") == "trailing-empty"

    def is_alike(fields):
        if len(fields) < width:
            return fills and len(fields) > 1
        return len(fields) == width or cuts and not any(fields[width:])

    same = sum(is_alike(fields) and faults.code != "stray-quote" for fields, faults in rows)
    quoted = [faults for _, faults in rows if faults.is_quoted]
    is_over_lines = any(re.search("[\r\n]", faults.raw.rstrip("\r\n")) for faults in quoted)
    return width, 100 * same // (len(rows) + is_open), bool(quoted), is_over_lines


def is_decimal(text):
    return not re.search("(?<![0-9]),|,(?![0-9])", text)


def told(text, options, has_double, has_decimals, counts_rules):
    """Returns the delimiter and the quote that docs/formats.md specifies for a text ("How a dialect is detected")."""
    users = [options.get("escape"), options.get("comment")]
    default = options.get("quote", '"')
    has_single = "quote" not in options and not has_double
    candidates, has_columns = [], False
    known = options.get("delimiter")
    usual = [known] if known else [delimiter for delimiter in "\t;|," if delimiter not in users]
    for delimiter in usual:
        best = None
        for quote in (["'"] if has_single else []) + [default]:
            found = alike(text, options, delimiter, quote, counts_rules)
            if found is None or found[0] == 1:
                continue
            has_columns = True
            width, percent, is_quoted, is_over_lines = found
            is_better = is_quoted or quote == default
            if best:
                is_better = percent > best[0] or percent == best[0] and best[4]
            if percent >= 90 and is_better:
                best = (percent, width, delimiter, quote, is_over_lines)
        if best:
            candidates.append(best)
    if len(candidates) > 1 and has_decimals:
        candidates = [best for best in candidates if best[2] != ","]
    candidates.sort(key=lambda best: best[:2], reverse=True)
    if len(candidates) > 1 and candidates[0][:2] == candidates[1][:2]:
        raise Refused(f"can be read in two ways, {candidates[0][1]} fields by")
    if candidates:
        return candidates[0][2:4]
    if not known:
        without_users = {**options, "escape": "none", "comment": "none"}
        for delimiter in "\t;|,":
            found = delimiter in users and alike(text, without_users, delimiter, default, counts_rules)
            if found and found[0] > 1 and found[1] >= 90:
                raise Refused("uses that character: say another one there")
    if has_columns:
        raise Refused("no dialect gives its first records as many fields each")
    if not known and "^" not in users:
        found = alike(text, options, "^", default, counts_rules)
        if found and found[0] > 1 and found[1] >= 90:
            raise Refused(f'has {found[0]} columns by "^", which has to be named')
    return known or ",", default


def dialects(text, options):
    """Yields each dialect that the host may detect for a text, or the reason why none is detected."""
    # The host examines the text without comments, escapes and skipped spaces. If the options allow these, the model
    # does not know the examined text. So it tries both values of `has_double` and of `has_decimals`.
    is_plain = not options.get("trim") and all(options.get(name, "none") == "none" for name in ("escape", "comment"))
    has_double = [True, False] if '"' in text and not is_plain else ['"' in text]
    has_decimals = [is_decimal(text)] if is_plain else [True, False]
    # docs/formats.md does not say whether a row counts if only a rule for rows gives it the right width. So the model
    # tries both answers.
    for choices in itertools.product(has_double, has_decimals, [True, False]):
        try:
            yield told(text, options, *choices)
        except Refused as refused:
            yield refused


def names_of(header, options):
    names = [name or f"column_{number}" for number, name in enumerate(header, 1)]
    if len(set(names)) < len(names):
        if options.get("duplicate_columns") != "number":
            raise Refused("are both named")
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


def text_of_file(data, options):
    """Decodes a file, and returns the text after the skipped lines."""
    # BY DESIGN: Latin-1 means Windows-1252. In Python, Latin-1 has control characters where Windows-1252 has letters.
    encoding = {"latin_1": "cp1252"}.get(options.get("encoding"), options.get("encoding", "utf-8"))
    text = data.decode(encoding).removeprefix("\ufeff")
    skipped = options.get("skip_lines", 0)
    behind = "".join(lines_of(text)[skipped:])
    if skipped and not behind:
        raise Refused("has no line behind")
    return behind.removeprefix("\ufeff")


IN_HEADER = {
    "stray-quote": ("within a field that does not begin with one", "that ends the field"),
    "stray-escape": ("there is nothing that it escapes",),
}


def read_csv(text, options):
    """Returns the columns and the records. A record is a list of fields, or the code of a reject."""
    rows = list(rows_of(lines_of(text), options))
    if not rows:
        raise Refused("is empty")
    first, faults = rows[0]
    if faults.is_open:
        raise Refused("is never closed")
    if options.get("header", True):
        rows.pop(0)
        if faults.code:
            raise Refused(*IN_HEADER[faults.code])
        columns = names_of(first, options)
    else:
        columns = [f"column_{number}" for number in range(1, len(first) + 1)]
    if any(faults.is_open for _, faults in rows):
        raise Refused("is never closed", is_late=True)
    if options.get("skip_footer"):
        rows = rows[: -options["skip_footer"]]
    records = []
    for fields, faults in rows:
        missing = len(columns) - len(fields)
        if missing > 0 and options.get("short_rows") == "fill":
            fields = fields + [""] * missing
        elif missing < 0 and options.get("long_rows") == "trailing-empty" and not any(fields[len(columns) :]):
            fields = fields[: len(columns)]
        # BY DESIGN: a row with another number of fields is a reject unless an option says otherwise. In Python, it is a
        # row.
        code = faults.code or ("ragged-row" if len(fields) != len(columns) else None)
        records.append(code or fields)
    return columns, records


class Rejected(Exception):
    """A record is a reject."""


def members_of(pairs):
    # BY DESIGN: a record with a duplicate member is a reject. Python takes the last value.
    if len({name for name, _ in pairs}) < len(pairs):
        raise Rejected("duplicate-member")
    return dict(pairs)


def constant(name):
    # BY DESIGN: NaN and Infinity are not JSON. Python accepts them.
    raise Rejected("not-json")


def read_jsonl(data):
    """Yields each record as an object, or as the code of a reject."""
    for line in data.decode().split("\n"):
        if not line.strip(" \t\r"):
            continue
        try:
            # Only the members of the record itself are checked for duplicates.
            value = json.loads(line, parse_constant=constant)
            if not isinstance(value, dict):
                raise Rejected("not-json")
            decoder = json.JSONDecoder(object_pairs_hook=lambda pairs: pairs, parse_constant=constant)
            members_of(decoder.decode(line))
            # BY DESIGN: half of a surrogate pair is not text. Python accepts it. Within a nested value, it stays
            # unchanged.
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
    """Returns whether a text stands for a value. Numbers keep their digits, which Python could write differently."""
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


NAMES = {"commas": ",", "semicolons": ";", "tabs": "\t", "bars": "|"}


def widths(text, options, delimiter=None):
    """Returns the number of fields of each row, with the header first if there is one. Leaves out the footer."""
    options = {**options, "delimiter": delimiter or options["delimiter"]}
    rows = list(rows_of(lines_of(text), options))
    # If a quote is never closed, the rows at the end are unknown.
    if rows and rows[-1][1].is_open:
        rows.pop()
    elif options.get("skip_footer"):
        begin = 1 if options.get("header", True) else 0
        rows = rows[:begin] + rows[begin : -options["skip_footer"]]
    return [len(fields) for fields, _ in rows]


def is_legal(columns, records, text, options):
    """Returns whether the host must accept a table: no record is a reject or has another number of fields."""
    if not records or any(isinstance(record, str) for record in records) or len(set(widths(text, options))) > 1:
        return False
    has_names = all(re.fullmatch("[a-z][a-z0-9]*", name) for name in columns) if options.get("header", True) else True
    return has_names and (len(columns) > 1 or not re.search("[ ,;|^~\t]", text))


def check_guess(error, columns, records, text, options):
    """Checks the error for a file without a named format: Python's records must show the same fault."""
    is_plain = not options.get("trim") and all(
        options.get(name, default) == default for name, default in (("escape", "none"), ("comment", "none"), ("blank_rows", "keep"))
    )
    own, header = widths(text, options), options.get("header", True)
    below = own[1:] if header else own
    width = len(columns)

    def expect_fields(name, number, at):
        # If a text is not plain, the host examines a changed text and a header without its quotes. These can have other
        # fields.
        if is_plain and '"' not in text and "'" not in text:
            expect(f"fields by {name}", number in widths(text, options, NAMES.get(name, name.strip('"')))[at:], True)

    if found := re.search(r"has one column by (\w+), but (\d+) by ([^:]+): say", error):
        expect("columns", (width, NAMES[found[1]]), (1, options["delimiter"]))
        if found[3] == "several spaces":
            expect("several spaces", "  " in text, True)
        else:
            expect_fields(found[3], int(found[2]), 0)
    elif found := re.search(r"has one field in its first line, but (\d+) of the next (\d+) have (\d+) by ([^:]+): say --skip-lines", error):
        expect("columns", width, 1)
        # A file can consist of only a title and a header.
        is_alone = (found[1], found[2]) == ("1", "1")
        is_most = int(found[1]) >= 2 and (not is_plain or 2 * int(found[1]) >= len(below))
        expect("a table of them", is_alone or is_most, True)
        expect_fields(found[4], int(found[3]), 1)
    elif found := re.search(r"can be read in two ways, (\d+) fields by (\w+) or(?:, from line \d+ on,)? (\d+) by ([^:]+): say", error):
        expect("columns", (width, NAMES[found[2]]), (int(found[1]), options["delimiter"]))
        expect_fields(found[4], int(found[3]), 0)
    elif "its header is only" in error:
        # A column without a name gets a name with its number.
        named = [name for number, name in enumerate(columns, 1) if name != f"column_{number}"]
        if options.get("duplicate_columns") == "number":
            named = [re.sub(r"_\d+$", "", name) for name in named]
        is_unseen = all(c.isspace() or unicodedata.category(c) == "Cc" or c == "\ufeff" for c in "".join(named))
        expect("an unseen header", header and named != [] and is_unseen, True)
    elif found := re.search(r"has a header that names (none|\d+) of (\d+) columns", error):
        named = [name for number, name in enumerate(columns, 1) if name != f"column_{number}"]
        expect("named columns", (0 if found[1] == "none" else int(found[1]), int(found[2])), (len(named), width))
        expect("few names", header and len(named) <= 1 and width > 1, True)
    elif found := re.search(r"has a header of (?:one field|(\d+) fields), but (\d+) of its first (\d+) records have (\d+)", error):
        expect("columns", int(found[1] or 1), width)
        expect("a wider table", int(found[4]) > width, True)
        if is_plain:
            expect("records", int(found[3]), len(below))
            # The host does not count a row that could be a title.
            expect("records of that width", 0 < int(found[2]) <= below.count(int(found[4])), True)
    elif "begins with a sentence, not with a header" in error or "is a sentence (" in error:
        # Without a header, a file with a single line can be a sentence.
        first = columns if header else next(rows_of(lines_of(text), options))[0]
        expect("a sentence", (header or len(own) == 1) and len(options["delimiter"].join(first).split()) > 2, True)
    elif "is a text in Markdown, not a table" in error:
        expect("a title of Markdown", columns[0].startswith("# "), True)
    else:
        raise AssertionError(f"it has no such fault: {error}")
    if "can be read in two ways" not in error:
        expect("a legal table", is_legal(columns, records, text, options), False)


def check_csv(data, options, ours):
    """Checks one CSV file. Returns words that describe the outcome and are counted."""
    error = ours.get("error")
    options = {"format": None, **options}
    try:
        text = text_of_file(data, options)
    except Refused as refused:
        expect(f"refused: {refused}", refused.is_meant_by(error), True)
        return ["refused"]
    if options.get("dialect") != "auto":
        is_spaced = options.get("dialect") == "spaces"
        text = with_tabs(text, options) if is_spaced else text
        return check_table(text, {"delimiter": "\t" if is_spaced else ",", **options}, ours)
    ways = list(dialects(text, options))
    if any(isinstance(way, Refused) and way.is_meant_by(error) for way in ways):
        return ["refused"]
    if error and "columns by several spaces, which has to be named" in error:
        quote = options.get("quote", '"')
        found = alike(text, options, ",", quote, True)
        is_one = found is None or found[0] == 1
        expect("one column, but for spaces", (",", quote) in ways and is_one and "  " in text, True)
        return ["refused"]
    differences = [f"no dialect is told: {ways}"]
    for way in ways:
        if not isinstance(way, Refused):
            delimiter, quote = way
            try:
                return check_table(text, {**options, "delimiter": delimiter, "quote": quote}, ours)
            except AssertionError as difference:
                differences.append(str(difference))
    raise AssertionError("; or ".join(differences))


def check_table(text, options, ours):
    """Checks one CSV file whose dialect is known. Returns words like `check_csv`."""
    error = ours.get("error")
    try:
        columns, records = read_csv(text, options)
    except Refused as refused:
        if refused.is_meant_by(error):
            return ["refused"]
        expect(f"refused: {refused}", error is not None and refused.is_late, True)
        rows = list(rows_of(lines_of(text), options))
        columns = names_of(rows[0][0], options) if options.get("header", True) else rows[0][0]
        records = []
    if error is not None:
        # The host does not question a format that was named, but it questions a detected dialect.
        expect("named", options["format"] is None or options.get("dialect") == "auto", True)
        check_guess(error, columns, records, text, options)
        return ["refused"]
    expect("delimiter", ours["delimiter"], options["delimiter"])
    if options.get("quote", "none") != "none":
        expect("quote", ours["quote"], options["quote"])
    expect("columns", ours["columns"], columns)
    kept = [record for record in records if isinstance(record, list)]
    good = iter(record for record in ours["records"] if not isinstance(record, str))
    expect(
        "records",
        [record if isinstance(record, str) else record["fields"] for record in ours["records"]],
        [record if isinstance(record, str) else [record[read] for read in ours["reads"]] for record in records],
    )
    written, values = [], []
    for record, found in zip(kept, good):
        row = [record[source] for source in ours["sources"]]
        row_values = list(row)
        for column, text_there in found["edits"].items():
            row[int(column)] = text_there
            # BY DESIGN: in JSONL, a value that a plugin empties is null.
            row_values[int(column)] = text_there or None
        written.append(row)
        values.append(row_values)
    names = [columns[source] for source in ours["sources"]]
    expect("CSV that was written", written_csv(ours), (names, written))
    objects = [json.loads(line) for line in ours["jsonl"].splitlines()] if ours["jsonl"] else []
    expect("JSONL that was written", objects, [dict(zip(names, row)) for row in values])
    is_edited = any(not isinstance(record, str) and record["edits"] for record in ours["records"])
    marks = {
        "spaces": options.get("dialect") == "spaces" and len(columns) > 1,
        "auto": options.get("dialect") == "auto" and len(columns) > 1,
        "unnamed": options["format"] is None,
        "legal and unnamed": options["format"] is None and is_legal(columns, records, text, options),
        "projected": ours["reads"] != list(range(len(columns))),
        "edited": is_edited,
        "rewritten and edited": is_edited and ours["is_rewritten"],
    }
    outcome = "rejected" if len(kept) < len(records) else "read"
    return [outcome, "read or rejected", *(mark for mark, is_so in marks.items() if is_so)]


def value_at(text):
    """Returns the end of the JSON value at the start of a text, or None if the text does not start with a value."""
    try:
        return json.JSONDecoder(parse_constant=constant).raw_decode(text)[1]
    except (ValueError, Rejected):
        return None


def document_of(text):
    """Returns the type of a text that is not lines of objects, or None, and whether the host must agree."""
    text = text.removeprefix("\ufeff").lstrip(" \t\r\n\f")
    line = text.split("\n")[0]
    behind = text[len(line) :].strip(" \t\r\n\f")
    end = value_at(text)
    if text.startswith("\x1e"):
        return "is a JSON text sequence", True
    if text.startswith("["):
        if value_at(line) is None:
            return "is a JSON array", end is not None
        # A line with an array of names above the objects is one reject.
        if behind.startswith("{"):
            return None, True
        return "is JSON lines of arrays" if behind.startswith("[") else "is a JSON array", True
    if text.startswith("{") and behind and value_at(line) is None:
        return "is a JSON object over several lines", end is not None
    return None, True


def check_jsonl(data, ours):
    # BY DESIGN: a JSON document, and lines of arrays, are refused as a whole. Python reads their values.
    document, is_sure = document_of(data.decode())
    if (is_sure and document) or "error" in ours:
        expect(f"refused: it {document}", document is not None and document in ours.get("error", ""), True)
        return ["refused"]
    records = list(read_jsonl(data))
    expect("how many records", len(ours["records"]), len(records))
    for found, record in zip(ours["records"], records):
        if isinstance(record, str):
            expect("reject", found, record)
            continue
        expect("fields", len(found["fields"]), len(ours["columns"]))
        for name, text in zip(ours["columns"], found["fields"]):
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
    return ["rejected" if len(kept) < len(records) else "read", "read or rejected"]


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
        for word in what:
            counts[word] = counts.get(word, 0) + 1
    print(json.dumps(counts))
    return 0


sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
sys.stdin.reconfigure(encoding="utf-8")
sys.exit(main())
