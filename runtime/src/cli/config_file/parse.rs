//! Parses the text of a config file: TOML goes in; settings come out. Each setting is checked like the option of the same
//! name. If there are faults, all of them come out instead, with their positions.

use std::any::TypeId;
use std::collections::BTreeMap;
use std::ops::Range;

use clap::{Arg, ArgAction, Command};
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::stores;
use super::toml_text::{as_key, decimal, kind, nearest, position};
use super::{ConfigFile, Fault, Faults, OF_PROGRAM, Position, Setting, Table, URL};
use crate::cli::one_line;
use crate::cli::options::heading;
use crate::config::LimitValue;
use crate::names::check_usable_queue_name;

/// The tables that the file can have.
const QUEUES: &str = "queues";
const LIMITS: &str = "limits";
/// The key in a queue's table for the list of the stores that the queue may use.
const STORES: &str = "stores";

/// The options that the file cannot set. Its own name is one of them, and `limits` replaces the option `--limit`.
const NOT_IN_FILE: [&str; 4] = ["config-file", "limit", "help", "version"];

/// Parses the text of a config file. The settings are the options of `program` and of its command `run`.
///
/// # Errors
/// Returns all faults of the file.
pub(super) fn parse(name: &str, text: &str, program: &Command) -> Result<ConfigFile, Faults> {
    let mut reader = Reader {
        text,
        options: Options::of(program),
        faults: Vec::new(),
    };
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        reader.fault(error.span().unwrap_or_default(), error.message().to_owned());
    }
    let mut file = ConfigFile {
        name: name.to_owned(),
        worker: Table::default(),
        queues: BTreeMap::new(),
        stores: BTreeMap::new(),
        changed_by_others: None,
    };
    // What the parser has recovered after an error may not be what was meant.
    if errors.is_empty() {
        file.worker = reader.worker(table.get_ref(), &mut file);
    }
    if reader.faults.is_empty() {
        return Ok(file);
    }
    reader.faults.sort();
    reader.faults.dedup();
    Err(Faults {
        name: file.name,
        faults: reader.faults,
    })
}

/// The table that a setting is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Worker,
    Queue,
}

/// The options that the file can set.
struct Options {
    all: Vec<Arg>,
    run: Command,
}

impl Options {
    fn of(program: &Command) -> Self {
        let run = program.find_subcommand("run").expect("a command").clone();
        let of_program = program
            .get_arguments()
            .filter(|arg| arg.get_long().is_some_and(|name| OF_PROGRAM.contains(&name)));
        let of_run = run
            .get_arguments()
            .filter(|arg| arg.get_long().is_some_and(|name| !NOT_IN_FILE.contains(&name)));
        Self {
            all: of_program.chain(of_run).cloned().collect(),
            run: run.clone(),
        }
    }

    fn get(&self, name: &str) -> Option<&Arg> {
        self.all.iter().find(|arg| arg.get_long() == Some(name))
    }

    /// Returns the name nearest to one that is unknown, if one is near.
    fn nearest(&self, unknown: &str, scope: Scope) -> Option<&str> {
        let unknown = as_key(unknown);
        let tables = match scope {
            Scope::Worker => &[LIMITS, QUEUES, STORES][..],
            Scope::Queue => &[LIMITS, STORES],
        };
        let options = self.all.iter().filter(|arg| is_in(arg, scope));
        let names = options
            .filter_map(|arg| arg.get_long())
            .chain(tables.iter().copied());
        nearest(names, &unknown)
    }
}

/// Returns whether an option can be set in a table. The options below the heading of workers, and those without a
/// heading, are for the whole worker.
pub(in crate::cli) fn is_of_queue(arg: &Arg) -> bool {
    arg.get_help_heading().is_some_and(|of| of != heading::WORKER)
}

fn is_in(arg: &Arg, scope: Scope) -> bool {
    scope == Scope::Worker || is_of_queue(arg)
}

struct Reader<'a> {
    text: &'a str,
    options: Options,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    fn fault(&mut self, span: Range<usize>, message: String) {
        let at = position(self.text, span.start);
        self.faults.push(Fault { at, message });
    }

    /// Returns the settings of the worker, and puts the tables of queues and stores into `file`.
    fn worker(&mut self, table: &DeTable<'_>, file: &mut ConfigFile) -> Table {
        let settings = self.table(table, Scope::Worker);
        // The name of a store is known even if the store's table has a fault.
        let mut names_of_stores = Vec::new();
        for (key, value) in table {
            match &**key.get_ref() {
                QUEUES => self.queues(value, &mut file.queues),
                STORES => {
                    let (stores, faults) = stores::parse(value, self.text);
                    file.stores = stores;
                    self.faults.extend(faults);
                    let tables = value.get_ref().as_table().into_iter().flatten();
                    names_of_stores.extend(tables.map(|(name, _)| &**name.get_ref()));
                }
                _ => {}
            }
        }
        self.check_names_of_stores(file, &names_of_stores);
        settings
    }

    /// Finds names of stores, in tables of queues, that have no table.
    fn check_names_of_stores(&mut self, file: &ConfigFile, known: &[&str]) {
        for setting in file.queues.values().filter_map(|table| table.stores.as_ref()) {
            for name in setting.values.iter().filter(|name| !known.contains(&&***name)) {
                let near = nearest(known.iter().copied(), name);
                let hint = near.map_or(String::new(), |near| format!(", did you mean \"{near}\"?"));
                self.faults.push(Fault {
                    at: setting.at,
                    message: format!("`{STORES}`: there is no table [stores.{name}]{hint}"),
                });
            }
        }
    }

    /// Returns the strings of a list.
    fn names(&mut self, name: &str, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        let expected = format!("`{name}`: expected a list of strings, as in {name} = [\"NAME\"], found");
        let DeValue::Array(list) = value.get_ref() else {
            self.fault(value.span(), format!("{expected} {}", kind(value.get_ref())));
            return Vec::new();
        };
        let list: &DeArray<'_> = list;
        let mut names = Vec::new();
        for value in list {
            match value.get_ref() {
                DeValue::String(text) => names.push(text.clone().into_owned()),
                other => self.fault(value.span(), format!("{expected} {} in it", kind(other))),
            }
        }
        names
    }

    fn table(&mut self, table: &DeTable<'_>, scope: Scope) -> Table {
        let mut settings = Table::default();
        for (key, value) in table {
            let name: &str = key.get_ref();
            let at = position(self.text, key.span().start);
            match self.options.get(name).cloned() {
                Some(arg) if is_in(&arg, scope) => {
                    let values = self.values(&arg, name, value);
                    let setting = Setting { values, at };
                    settings.settings.insert(name.to_owned(), setting);
                }
                Some(_) => {
                    let what = format!(
                        "`{name}` is a setting of the whole worker, not of a queue: write it before the first [table]"
                    );
                    self.fault(key.span(), what);
                }
                None if name == LIMITS => settings.limits = self.limits(value, scope),
                None if name == STORES && scope == Scope::Queue => {
                    let values = self.names(name, value);
                    settings.stores = Some(Setting { values, at });
                }
                None if [QUEUES, STORES].contains(&name) && scope == Scope::Worker => {}
                None => {
                    let nearest = self.options.nearest(name, scope);
                    let hint = nearest.map_or(String::new(), |near| format!(", did you mean `{near}`?"));
                    let what = format!("unknown key \"{name}\"{hint}");
                    self.fault(key.span(), what);
                }
            }
        }
        self.check_exclusive(&settings);
        settings
    }

    fn queues(&mut self, value: &Spanned<DeValue<'_>>, queues: &mut BTreeMap<String, Table>) {
        let DeValue::Table(tables) = value.get_ref() else {
            let what = format!(
                "`{QUEUES}`: expected a table for each queue, as in [queues.NAME], found {}; the list of the queues to serve is \
                 `queue`",
                kind(value.get_ref())
            );
            return self.fault(value.span(), what);
        };
        for (name, value) in tables {
            if let Err(error) = check_usable_queue_name(name.get_ref()) {
                self.fault(name.span(), error.report());
            }
            let DeValue::Table(table) = value.get_ref() else {
                let what = format!(
                    "expected a table with the settings of a queue, found {}",
                    kind(value.get_ref())
                );
                self.fault(value.span(), what);
                continue;
            };
            let table = self.table(table, Scope::Queue);
            queues.insert(name.get_ref().clone().into_owned(), table);
        }
    }

    fn limits(&mut self, value: &Spanned<DeValue<'_>>, scope: Scope) -> Vec<(LimitValue, Position)> {
        let DeValue::Table(table) = value.get_ref() else {
            let what = format!(
                "`{LIMITS}`: expected a table, as in limits = {{ memory = \"64MiB\" }}, found {}",
                kind(value.get_ref())
            );
            self.fault(value.span(), what);
            return Vec::new();
        };
        let mut limits = Vec::new();
        for (name, value) in table {
            let text = match value.get_ref() {
                DeValue::String(text) => text.clone().into_owned(),
                DeValue::Integer(number) => decimal(number),
                other => {
                    let what = format!("`{}`: expected a string, found {}", name.get_ref(), kind(other));
                    self.fault(value.span(), what);
                    continue;
                }
            };
            let limit = format!("{}={text}", name.get_ref()).parse::<LimitValue>();
            let limit = limit.and_then(|limit| match scope {
                Scope::Worker => Ok(limit),
                Scope::Queue => limit.in_queue(),
            });
            match limit {
                Ok(limit) => limits.push((limit, position(self.text, name.span().start))),
                Err(why) => self.fault(name.span(), why),
            }
        }
        limits
    }

    /// Returns the values of a setting. Those that are wrong become faults.
    fn values(&mut self, arg: &Arg, name: &str, value: &Spanned<DeValue<'_>>) -> Vec<String> {
        if !is_list(arg) {
            return Vec::from_iter(self.value(arg, name, value));
        }
        let DeValue::Array(list) = value.get_ref() else {
            let hint = match value.get_ref() {
                DeValue::Table(_) if name == "queue" => {
                    "; the settings of a queue are in the table [queues.NAME]"
                }
                _ => "",
            };
            let what = format!(
                "`{name}`: expected a list, as in {name} = [\"{}\"], found {}{hint}",
                placeholder(arg),
                kind(value.get_ref())
            );
            self.fault(value.span(), what);
            return Vec::new();
        };
        let list: &DeArray<'_> = list;
        list.iter()
            .filter_map(|value| self.value(arg, name, value))
            .collect()
    }

    fn value(&mut self, arg: &Arg, name: &str, value: &Spanned<DeValue<'_>>) -> Option<String> {
        let text = match (Kind::of(arg), value.get_ref()) {
            (Kind::Boolean, DeValue::Boolean(value)) => value.to_string(),
            (Kind::Integer, DeValue::Integer(number)) => decimal(number),
            (Kind::Text, DeValue::String(text)) => text.clone().into_owned(),
            // Some of these options also take a time, such as "90s".
            (Kind::Integer, DeValue::String(text)) if text.parse::<u64>().is_err() => {
                text.clone().into_owned()
            }
            (expected, other) => {
                let what = format!(
                    "`{name}`: expected {}, found {}",
                    expected.describe(arg),
                    kind(other)
                );
                self.fault(value.span(), what);
                return None;
            }
        };
        if name == URL && has_password(&text) {
            let what = "`url`: has a password, which must not be in this file: set REDIS_URL in the environment instead";
            self.fault(value.span(), what.to_owned());
            return None;
        }
        if let Err(why) = check_value(arg, &text) {
            self.fault(value.span(), why);
            return None;
        }
        Some(text)
    }

    /// Finds options of one table that contradict each other.
    fn check_exclusive(&mut self, table: &Table) {
        for (name, setting) in &table.settings {
            let Some(arg) = self.options.get(name) else {
                continue;
            };
            let others = excluded(&self.options.run, arg);
            if let Some(other) = others
                .into_iter()
                .find(|other| table.settings.contains_key(*other))
            {
                let message = format!("`{name}` cannot be used with `{other}`");
                self.faults.push(Fault {
                    at: setting.at,
                    message,
                });
            }
        }
    }
}

/// Returns the names of the options of `run` that cannot be used with this one, as far as this one says so.
pub(in crate::cli) fn excluded<'a>(run: &'a Command, arg: &Arg) -> Vec<&'a str> {
    let of_run = run.get_arguments().any(|of_run| of_run.get_id() == arg.get_id());
    let others = match of_run {
        true => run.get_arg_conflicts_with(arg),
        false => Vec::new(),
    };
    others.into_iter().filter_map(Arg::get_long).collect()
}

/// The kind of value that an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Kind {
    Boolean,
    Integer,
    Text,
}

impl Kind {
    pub(in crate::cli) fn of(arg: &Arg) -> Self {
        let type_id = arg.get_value_parser().type_id();
        let is_one_of = |ids: &[TypeId]| ids.iter().any(|id| type_id == *id);
        match () {
            () if is_one_of(&[TypeId::of::<bool>()]) => Self::Boolean,
            () if is_one_of(&[TypeId::of::<u16>(), TypeId::of::<u32>(), TypeId::of::<u64>()]) => {
                Self::Integer
            }
            () => Self::Text,
        }
    }

    fn describe(self, arg: &Arg) -> String {
        match self {
            Self::Boolean => "true or false".into(),
            Self::Integer => "a whole number".into(),
            Self::Text => format!("a string (\"{}\")", placeholder(arg)),
        }
    }
}

/// Returns whether an option can be repeated, so that its setting is a list.
pub(in crate::cli) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

fn placeholder(arg: &Arg) -> String {
    let names = arg.get_value_names().unwrap_or_default();
    names
        .first()
        .map_or_else(|| "NAME".to_owned(), ToString::to_string)
}

/// Checks a value as the command line would.
fn check_value(arg: &Arg, value: &str) -> Result<(), String> {
    let long = arg.get_long().expect("only options with a long name").to_owned();
    let mut option = Arg::new("value")
        .long(long.clone())
        .value_parser(arg.get_value_parser().clone())
        .action(ArgAction::Append)
        .num_args(1)
        .value_names(arg.get_value_names().unwrap_or_default().to_vec())
        .value_delimiter(arg.get_value_delimiter());
    option = option.allow_hyphen_values(true);
    let program = Command::new("run").no_binary_name(true).arg(option);
    let parsed = program.try_get_matches_from([format!("--{long}={value}")]);
    parsed.map(drop).map_err(|error| one_line(&error.to_string()))
}

fn has_password(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| url.password().is_some())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Cli;

    fn parsed(text: &str) -> Result<ConfigFile, Vec<String>> {
        parse("f", text, &Cli::command()).map_err(|faults| faults.lines().collect())
    }

    fn options() -> Options {
        Options::of(&Cli::command())
    }

    #[test]
    fn each_option_of_run_is_a_setting() {
        let run = Cli::command().find_subcommand("run").unwrap().clone();
        let names = run.get_arguments().filter_map(Arg::get_long);
        let missing: Vec<_> = names.filter(|name| options().get(name).is_none()).collect();
        assert_eq!(missing, ["limit"], "the table `limits` replaces this option");
        let options = options();
        let of_worker = options.all.iter().filter(|arg| !is_of_queue(arg));
        assert_eq!(
            Vec::from_iter(of_worker.filter_map(|arg| arg.get_long())),
            [
                "url",
                "log-format",
                "queue",
                "concurrency",
                "burst",
                "burst-wait",
                "retry-for",
                "lease",
                "retention",
                "checkpoint",
                "memory-total",
                "strict",
                "move-output",
            ]
        );
    }

    #[test]
    fn values_are_written_as_on_the_command_line() {
        let text = "concurrency = 0x10\nallow-host = [\n  \"a\", # why\n  'b:80',\n]\nno-header = true\n[queues.q]\nlimits.traps = 1_0\n";
        let file = parsed(text).unwrap();
        let setting = |name: &str| file.worker.settings[name].clone();
        assert_eq!(setting("no-header").values, ["true"]);
        assert_eq!(setting("allow-host").values, ["a", "b:80"]);
        assert_eq!(setting("allow-host").at, Position { line: 2, column: 1 });
        let (limit, at) = file.queues["q"].limits[0];
        assert_eq!(limit.to_string(), "traps=10");
        assert_eq!(at, Position { line: 8, column: 8 });
    }

    #[test]
    fn a_position_counts_characters() {
        let text = "output = \"ä\"\nälles = 1\nlimits = {memory = \"64MiB\", tr\u{e4}ps = 1}";
        assert!(parsed(text).is_err());
        let text = "plugin-config = 'ä', x = 1";
        assert_eq!(
            position(text, text.find('x').unwrap()),
            Position { line: 1, column: 22 }
        );
        assert_eq!(position("a\r\nb", 3), Position { line: 2, column: 1 });
    }

    #[test]
    fn the_nearest_name_is_near() {
        let options = options();
        for (unknown, scope, near) in [
            ("concurency", Scope::Worker, Some("concurrency")),
            ("MAX_REJECTS", Scope::Queue, Some("max-rejects")),
            ("limit", Scope::Queue, Some("limits")),
            ("concurency", Scope::Queue, None),
            ("store", Scope::Worker, Some("stores")),
            ("Stores", Scope::Queue, Some("stores")),
            ("x", Scope::Worker, None),
        ] {
            assert_eq!(options.nearest(unknown, scope), near, "{unknown}");
        }
    }
}
