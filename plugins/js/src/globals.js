// Sets the globals that a plugin and its packages expect and the engine may lack. The bundle of a component loads this
// module first.

import { TextDecoder, TextEncoder } from "./encoding.js";
import { consoleOfHost } from "./host.js";

globalThis.console = consoleOfHost();
globalThis.TextDecoder ??= TextDecoder;
globalThis.TextEncoder ??= TextEncoder;
