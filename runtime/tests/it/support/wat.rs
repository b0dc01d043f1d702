//! Handwritten components: plugins that do what no compiler would emit.

use std::fmt::Write;

/// The address of answers in a component's memory.
pub(crate) const ANSWER: u32 = 0x1000;
/// The address of free space for texts and lists.
pub(crate) const ROOM: u32 = 0x2000;

/// A handwritten plugin. By default it reads the first column and keeps every record.
pub(crate) struct HandWrittenPlugin {
    /// The bodies of core functions, each of which returns the address of its answer. `open` and `process` have five
    /// parameters.
    pub(crate) open: String,
    pub(crate) process: String,
    pub(crate) finish: String,
    /// The initial contents of the memory, each with its address.
    pub(crate) data: Vec<(u32, Vec<u8>)>,
    /// The size of the memory in pages of 64 KiB.
    pub(crate) pages: u32,
    /// More code for the core module, imports first.
    pub(crate) core: String,
    /// More code for the component, before the core module is instantiated.
    pub(crate) imports: String,
    /// The arguments of the core module's instantiation.
    pub(crate) with: String,
    pub(crate) stateful: bool,
}

impl Default for HandWrittenPlugin {
    fn default() -> Self {
        Self {
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

/// Returns numbers as bytes in memory order.
pub(crate) fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Returns an answer of `process`: the addresses and lengths of the three lists.
pub(crate) fn answer(verdicts: (u32, u32), operands: (u32, u32), bytes: (u32, u32)) -> Vec<u8> {
    words(&[
        0, verdicts.0, verdicts.1, operands.0, operands.1, bytes.0, bytes.1,
    ])
}

impl HandWrittenPlugin {
    /// Returns a plugin that answers each batch with these changes.
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

    /// Returns a component with more memories after the one that it shares with the host.
    pub(crate) fn component_with_memories(&self, memories: &str) -> Vec<u8> {
        let mut data = String::new();
        let own = [
            // describe: name and version.
            (16, words(&[32, 12, 48, 5])),
            (32, b"hand-written".to_vec()),
            (48, b"0.1.0".to_vec()),
            // open: reads the first column, which is the output's only one.
            (256, words(&[0, 300, 1, 0, 0, 320, 1, u32::from(self.stateful)])),
            (300, words(&[0])),
            (320, words(&[352, 1, 0, 1, 0])),
            (352, b"n".to_vec()),
            // finish: nothing. check: no objection.
            (512, words(&[0; 6])),
            (600, words(&[0; 3])),
        ];
        for (at, bytes) in own.iter().chain(&self.data) {
            let escaped: String = bytes.iter().fold(String::new(), |mut text, byte| {
                write!(text, "\\{byte:02x}").expect("a string takes everything");
                text
            });
            writeln!(data, "(data (i32.const {at}) \"{escaped}\")").expect("a string takes everything");
        }
        let Self {
            open,
            process,
            finish,
            pages,
            core,
            imports,
            with,
            ..
        } = self;
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
                (func (export "finish") (result i32) {finish}))
              (core instance $i (instantiate $core {with}))
              {TYPES}
            )"#
        );
        wat::parse_str(text).expect("the component is well-formed")
    }
}

const TYPES: &str = r#"
  (type $description' (record (field "name" string) (field "version" string)))
  (export $description "description" (type $description'))
  (type $format' (enum "csv" "jsonl"))
  (export $format "format" (type $format'))
  (type $input' (record (field "columns" (list string)) (field "format" $format)))
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
  (instance $transform
    (export "describe" (func $describe)) (export "open" (func $open)) (export "check" (func $check))
    (export "process" (func $process)) (export "finish" (func $finish)))
  (export "ingest:plugin/transform@0.1.0" (instance $transform))
"#;
