// Builds the component of the plugin in the current folder. `ingest-host plugin build` calls it:
//
//     node --preserve-symlinks --preserve-symlinks-main node_modules/ingest-plugin/build.js
//
// package.json has the plugin's name, version and main module, and may choose the engine: "ingest-plugin": {"engine":
// "quickjs"} or "spidermonkey". esbuild makes one module of the plugin, its packages and this package. Then the package
// of the engine makes a component of this module. Both are packages in the plugin's node_modules. The component is
// dist/NAME.wasm, and the last line on stdout is a JSON object with this path.

import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const WIT = fileURLToPath(new URL("wit", import.meta.url));
const WORLD = "plugin";
/** Stands for the table of lines until the bundle exists. */
const LINES = "@@lines@@";

/** Features of SpiderMonkey's runtime that need imports beyond those of a plugin. */
const FEATURES = ["random", "stdio", "clocks", "http", "fetch-event"];

const ENGINES = {
    quickjs: async (source) => {
        const { componentize } = await packageOf("componentize-qjs");
        const options = { witPath: WIT, world: WORLD, jsSource: source, stubWasi: true, sync: true };
        const { component } = await componentize(options);
        return component;
    },
    spidermonkey: async (source) => {
        const { componentize } = await packageOf("@bytecodealliance/componentize-js");
        const folder = await mkdtemp(resolve("node_modules/.ingest-plugin-"));
        try {
            const sourcePath = join(folder, "bundle.js");
            await writeFile(sourcePath, source);
            const options = { sourcePath, witPath: WIT, worldName: WORLD, disableFeatures: FEATURES };
            const { component } = await componentize(options);
            return component;
        } finally {
            await rm(folder, { recursive: true, force: true });
        }
    },
};

/** A fault that the author can repair. Its message is shown without a stack. */
class BuildError extends Error {}

/** Builds the component, and returns its path. */
async function build() {
    const about = await manifest();
    const component = await ENGINES[about.engine](await bundle(about));
    const output = join("dist", `${about.name}.wasm`);
    await mkdir(dirname(output), { recursive: true });
    await writeFile(output, component);
    return output;
}

/** Returns the name, the version, the main module and the engine in package.json. */
async function manifest() {
    const about = JSON.parse(await readFile("package.json", "utf8"));
    const { name, version, main = "index.js", "ingest-plugin": { engine = "quickjs" } = {} } = about;
    if (!/^[a-z0-9_-]{1,64}$/.test(name ?? "")) {
        const rule = "must have 1 to 64 lowercase letters, digits, dashes and underscores";
        throw new BuildError(`package.json: the name ${JSON.stringify(name)} ${rule}`);
    }
    if (!/^[A-Za-z0-9.+-]{1,64}$/.test(version ?? "")) {
        throw new BuildError(`package.json: the version ${JSON.stringify(version)} must be one like "0.1.0"`);
    }
    if (!Object.hasOwn(ENGINES, engine)) {
        const engines = Object.keys(ENGINES).join(" and ");
        throw new BuildError(`package.json: there is no engine ${JSON.stringify(engine)}, only ${engines}`);
    }
    return { name, version, main, engine };
}

/** Returns one module with the plugin, its packages and this package. */
async function bundle({ name, version, main, engine }) {
    const esbuild = await packageOf("esbuild");
    // The interface counts with 64 bits, for which the engines expect different types.
    const delta = engine === "spidermonkey" ? "BigInt(delta)" : "delta";
    const text = JSON.stringify;
    const entry = `
        import "ingest-plugin/globals";
        import { count, log } from "ingest:plugin/host@0.1.0";
        import { component } from "ingest-plugin/component";
        import plugin from ${text(resolve(main))};
        const host = { log, count: (name, delta) => count(name, ${delta}) };
        const about = { name: ${text(name)}, version: ${text(version)}, lines: ${text(LINES)} };
        export const transform = component(plugin, host, about);
    `;
    const result = await esbuild.build({
        stdin: { contents: entry, resolveDir: process.cwd(), sourcefile: "component" },
        bundle: true,
        write: false,
        outfile: "bundle.js",
        format: "esm",
        target: "es2022",
        platform: "neutral",
        mainFields: ["module", "main"],
        external: ["ingest:plugin/*"],
        sourcemap: "external",
        sourcesContent: false,
        // Then the sources of this package are below node_modules, as those of all packages.
        preserveSymlinks: true,
        charset: "utf8",
        logLevel: "warning",
    });
    const output = (ending) => result.outputFiles.find((file) => file.path.endsWith(ending)).text;
    const lines = text(linesOf(JSON.parse(output(".map"))));
    return output(".js").replace(text(LINES), () => text(lines));
}

/**
 * Returns the author's file and line for each part of the bundle's lines: see `locatorOf` in src/component.js. Parts
 * that come from packages have none.
 */
function linesOf({ sources, mappings }) {
    const isAuthors = sources.map((source) => !source.includes("node_modules/") && source !== "component");
    let [source, line] = [0, 0];
    const lines = mappings.split(";").map((segments) => {
        let column = 0;
        const triples = [];
        for (const segment of segments === "" ? [] : segments.split(",")) {
            const [columns, sourcesOn = 0, linesOn = 0] = vlq(segment);
            column += columns;
            source += sourcesOn;
            line += linesOn;
            const isSame = triples.at(-2) === source && triples.at(-1) === line + 1;
            if (isAuthors[source] && !isSame) {
                triples.push(column, source, line + 1);
            }
        }
        return triples.length === 0 ? 0 : triples;
    });
    return { files: sources.map((source) => basename(source)), lines };
}

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** Returns the integers of a segment of a source map: groups of five bits, the lowest first, with a sign at the end. */
function vlq(segment) {
    const integers = [];
    let [value, shift] = [0, 0];
    for (const char of segment) {
        const digit = BASE64.indexOf(char);
        value += (digit & 31) << shift;
        shift += 5;
        if ((digit & 32) === 0) {
            integers.push(value & 1 ? -(value >> 1) : value >> 1);
            [value, shift] = [0, 0];
        }
    }
    return integers;
}

async function packageOf(name) {
    try {
        return await import(name);
    } catch (error) {
        // The package may be there, and another one that it needs may not.
        const missing = /^Cannot find package '([^']+)'/.exec(error.message)?.[1];
        if (error.code !== "ERR_MODULE_NOT_FOUND" || missing === undefined) {
            throw error;
        }
        const install = `npm install --save-dev ${missing}`;
        throw new BuildError(`the package ${missing} is not installed: \`${install}\` installs it`);
    }
}

try {
    console.log(JSON.stringify({ component: await build() }));
} catch (error) {
    // esbuild has already shown its own errors.
    if (error.errors === undefined) {
        console.error(error instanceof BuildError ? error.message : error);
    }
    process.exitCode = 1;
}
