//! Hand-written components: plugins that contain code that no compiler emits.

use std::fmt::Write;

/// The address in the component's memory where the answer of `process` begins.
pub(crate) const ANSWER: u32 = 0x1000;
/// The address of free memory for texts and lists.
pub(crate) const ROOM: u32 = 0x2000;

/// A version of the plugin interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interface {
    V0_1,
    V0_2,
}

impl Interface {
    pub(crate) const ALL: [Self; 2] = [Self::V0_1, Self::V0_2];

    fn number(self) -> &'static str {
        match self {
            Self::V0_1 => "0.1.0",
            Self::V0_2 => "0.2.0",
        }
    }

    /// Returns the type of `input`, with the types that it needs.
    fn input(self) -> &'static str {
        match self {
            Self::V0_1 => {
                r#"(type $input' (record (field "columns" (list string)) (field "format" $format)))"#
            }
            Self::V0_2 => {
                r#"(type $input-column' (record (field "name" string) (field "type-name" (option string))))
                (export $input-column "input-column" (type $input-column'))
                (type $input' (record (field "columns" (list $input-column)) (field "format" $format)))"#
            }
        }
    }

    /// Returns the functions that version 0.1 does not have: in the core module, in the component, and as exports.
    fn more_functions(self) -> [&'static str; 3] {
        match self {
            Self::V0_1 => [""; 3],
            Self::V0_2 => [
                r#"(func (export "config-schema") (result i32) (i32.const 620))"#,
                r#"(func $config-schema (result (option string))
                  (canon lift (core func $i "config-schema") (memory $memory) (realloc $realloc)))"#,
                r#"(export "config-schema" (func $config-schema))"#,
            ],
        }
    }
}

/// A hand-written plugin. By default, it reads the first column and keeps every record.
#[derive(Clone)]
pub(crate) struct HandWrittenPlugin {
    pub(crate) interface: Interface,
    /// The body of the core function `open`. Like the two bodies below, it returns the address of its answer. The
    /// function `open` has five parameters, and `process` has six.
    pub(crate) open: String,
    pub(crate) process: String,
    pub(crate) finish: String,
    /// The initial contents of the memory, as pairs of an address and the bytes there.
    pub(crate) data: Vec<(u32, Vec<u8>)>,
    /// The size of the memory, in pages of 64 KiB.
    pub(crate) pages: u32,
    /// Additional code of the core module. It begins with the imports, if it has any.
    pub(crate) core: String,
    /// Additional code of the component. It comes before the core module is instantiated.
    pub(crate) imports: String,
    /// The arguments with which the core module is instantiated.
    pub(crate) with: String,
    pub(crate) stateful: bool,
}

impl Default for HandWrittenPlugin {
    fn default() -> Self {
        Self {
            interface: Interface::V0_2,
            open: "(i32.const 256)".into(),
            process: format!("(i32.const {ANSWER})"),
            finish: "(i32.const 512)".into(),
            data: Vec::new(),
            pages: 64,
            core: String::new(),
            imports: String::new(),
            with: String::new(),
            stateful: false,
        }
    }
}

/// Returns the numbers as little-endian bytes.
pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Returns the answer of `process`: the address and the length of each of its three lists.
pub(crate) fn answer(verdicts: (u32, u32), operands: (u32, u32), bytes: (u32, u32)) -> Vec<u8> {
    words(&[
        0, verdicts.0, verdicts.1, operands.0, operands.1, bytes.0, bytes.1,
    ])
}

impl HandWrittenPlugin {
    /// Returns a plugin that answers each batch with these verdicts, operands and bytes.
    pub(crate) fn answering(verdicts: &[u8], operands: &[u32], bytes: &[u8]) -> Self {
        let (of_operands, of_bytes) = (ROOM + 0x1000, ROOM + 0x2000);
        let lists = answer(
            (ROOM, verdicts.len() as u32),
            (of_operands, operands.len() as u32),
            (of_bytes, bytes.len() as u32),
        );
        Self {
            data: vec![
                (ANSWER, lists),
                (ROOM, verdicts.to_vec()),
                (of_operands, words(operands)),
                (of_bytes, bytes.to_vec()),
            ],
            ..Self::default()
        }
    }

    pub(crate) fn component(&self) -> Vec<u8> {
        self.component_with_memories("")
    }

    /// Returns a component with additional memories. They follow the memory that it shares with the host.
    pub(crate) fn component_with_memories(&self, memories: &str) -> Vec<u8> {
        let mut data = String::new();
        let own = [
            // The answer of `describe`: the address and length of the name and of the version.
            (16, words(&[32, 12, 48, 5])),
            (32, b"hand-written".to_vec()),
            (48, b"0.1.0".to_vec()),
            // The answer of `open`: the plugin reads the first column, and the output has only this column.
            (256, words(&[0, 300, 1, 0, 0, 320, 1, u32::from(self.stateful)])),
            (300, words(&[0])),
            (320, words(&[352, 1, 0, 1, 0])),
            (352, b"n".to_vec()),
            // The answers of `finish` (no counters) and of `check` (no objection).
            (512, words(&[0; 6])),
            (600, words(&[0; 3])),
            // The answer of `config-schema`: there is none.
            (620, words(&[0; 3])),
        ];
        for (at, bytes) in own.iter().chain(&self.data) {
            let escaped: String = bytes.iter().fold(String::new(), |mut text, byte| {
                write!(text, "\\{byte:02x}").expect("a string takes everything");
                text
            });
            writeln!(data, "(data (i32.const {at}) \"{escaped}\")").expect("a string takes everything");
        }
        let Self {
            interface,
            open,
            process,
            finish,
            pages,
            core,
            imports,
            with,
            ..
        } = self;
        let (input, number) = (interface.input(), interface.number());
        let [more_core, more_lifted, more_exports] = interface.more_functions();
        let text = format!(
            r#"(component
              {imports}
              (core module $core
                {core}
                (memory (export "memory") {pages})
                {memories}
                {data}
                (global $free (mut i32) (i32.const 0x100000))
                (func (export "realloc") (param i32 i32 i32 i32) (result i32)
                  (local $at i32)
                  (local.set $at (i32.and (i32.add (global.get $free) (i32.const 7)) (i32.const -8)))
                  (global.set $free (i32.add (local.get $at) (local.get 3)))
                  ;; What is lent is forgotten again.
                  (if (i32.gt_u (global.get $free) (i32.const 0x200000))
                    (then (global.set $free (i32.const 0x100000))))
                  (local.get $at))
                (func (export "describe") (result i32) (i32.const 16))
                (func (export "open") (param i32 i32 i32 i32 i32) (result i32) {open})
                (func (export "check") (param i32 i32) (result i32) (i32.const 600))
                (func (export "process") (param i32 i32 i32 i32 i32 i32) (result i32) {process})
                (func (export "finish") (result i32) {finish})
                {more_core})
              (core instance $i (instantiate $core {with}))
              {TYPES_BEFORE_INPUT}
              {input}
              {TYPES_AFTER_INPUT}
              {more_lifted}
              (instance $transform
                (export "describe" (func $describe)) (export "open" (func $open)) (export "check" (func $check))
                (export "process" (func $process)) (export "finish" (func $finish)) {more_exports})
              (export "ingest:plugin/transform@{number}" (instance $transform))
            )"#
        );
        wat::parse_str(text).expect("the component is well-formed")
    }
}

const TYPES_BEFORE_INPUT: &str = r#"
  (type $description' (record (field "name" string) (field "version" string)))
  (export $description "description" (type $description'))
  (type $format' (enum "csv" "jsonl"))
  (export $format "format" (type $format'))
"#;

const TYPES_AFTER_INPUT: &str = r#"
  (export $input "input" (type $input'))
  (type $column-type' (enum "inherit" "text" "integer" "number" "boolean" "timestamp"))
  (export $column-type "column-type" (type $column-type'))
  (type $output-column' (record (field "name" string) (field "column-type" $column-type) (field "source" (option u32))))
  (export $output-column "output-column" (type $output-column'))
  (type $plan' (record (field "reads" (list u32)) (field "more-columns" (list string))
    (field "output" (list $output-column)) (field "stateful" bool)))
  (export $plan "plan" (type $plan'))
  (type $batch' (record (field "bytes" (list u8)) (field "starts" (list u32)) (field "ends" (list u32))))
  (export $batch "batch" (type $batch'))
  (type $changes' (record (field "verdicts" (list u8)) (field "operands" (list u32)) (field "bytes" (list u8))))
  (export $changes "changes" (type $changes'))
  (type $emitted' (record (field "rows" u32) (field "bytes" (list u8)) (field "ends" (list u32))))
  (export $emitted "emitted" (type $emitted'))
  (alias core export $i "memory" (core memory $memory))
  (alias core export $i "realloc" (core func $realloc))
  (func $describe (result $description)
    (canon lift (core func $i "describe") (memory $memory) (realloc $realloc)))
  (func $open (param "input" $input) (param "config" string) (result (result $plan (error string)))
    (canon lift (core func $i "open") (memory $memory) (realloc $realloc)))
  (func $check (param "config" string) (result (result (error string)))
    (canon lift (core func $i "check") (memory $memory) (realloc $realloc)))
  (func $process (param "batch" $batch) (result (result $changes (error string)))
    (canon lift (core func $i "process") (memory $memory) (realloc $realloc)))
  (func $finish (result (result $emitted (error string)))
    (canon lift (core func $i "finish") (memory $memory) (realloc $realloc)))
"#;
