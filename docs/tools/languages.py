"""How the examples become programs: a function for each language.

Each is given the blocks of its language. It compiles them, and returns the command that runs all that are to be run,
each behind a line of its name with the byte 1 in front; what that needs in its environment; and what is a program by
itself. The URL of the server is the last argument of all of them.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build/docs-examples"
BUILT = ROOT / "target/release"
LUA = "return redis.call('GET', KEYS[1]) * ARGV[1]"
# What a program with the static library is linked with.
LINKED = [BUILT / "librs_script.a"]
LINKED += ["-framework", "Security", "-framework", "CoreFoundation", "-liconv"] * (sys.platform == "darwin")
LINKED += ["-lpthread", "-ldl", "-lm"] * (sys.platform != "darwin")


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], **options)
    if done.returncode != 0:
        sys.exit(f"failed: {' '.join(str(word) for word in command)}")
    return done


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def where(block):
    return f'#line {block.line} "{ROOT / block.page}"\n'


# C: a file for each page, and one that calls what is in them. Each program is one of its own, as it is printed.
C_BODY = """static void {name}(rs_client *client, rs_script *multiply, rs_error **out) {{
    rs_error *err = NULL;
    (void)client, (void)multiply;
    {{
{line}{code}    }}
    *out = err;
}}
"""
C_DRIVER = """#include <rs_script.h>
#include <stdio.h>
#include <string.h>
{declared}
static int run(const char *name, const char *url, void (*body)(rs_client *, rs_script *, rs_error **)) {{
    const char *flush[] = {{"FLUSHALL"}}, *set[] = {{"SET", "foo", "2"}}, *lua = "{lua}";
    rs_client *client = NULL;
    rs_script *multiply = NULL;
    rs_error *err = NULL;
    int status = 0;
    printf("\\001%s\\n", name);
    fflush(stdout);
    if (rs_client_open(url, NULL, &client, &err) == RS_OK &&
        rs_client_command(client, 1, flush, NULL, NULL, NULL, &err) == RS_OK &&
        rs_client_command(client, 3, set, NULL, NULL, NULL, &err) == RS_OK &&
        rs_script_register(client, lua, strlen(lua), NULL, &multiply, &err) == RS_OK)
        body(client, multiply, &err);
    if (err) status = 1, fprintf(stderr, "%s: %s\\n", name, rs_error_message(err));
    rs_error_free(err);
    rs_script_free(multiply);
    rs_client_free(client);
    fflush(stdout);
    return status;
}}
int main(int argc, char **argv) {{
    (void)argc;
    return {calls};
}}
"""


def c(all_blocks):
    folder = WORK / "c"
    flags = ["cc", "-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror", "-g"]
    objects, declared, calls, programs = [], [], [], {}

    def compiled(name, text):
        source = write(folder / f"{name}.c", text)
        run(*flags, "-I", ROOT / "include", "-c", source, "-o", source.with_suffix(".o"))
        return source.with_suffix(".o")

    for page in sorted({block.page for block in all_blocks}):
        text = ["#include <rs_script.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n"]
        for block in [block for block in all_blocks if block.page == page]:
            if block.is_program:
                programs[block.name] = folder / block.name
                run("cc", compiled(block.name, where(block) + block.code), *LINKED, "-o", programs[block.name])
            elif block.is_declaration:
                text.append(where(block) + block.code)
            else:
                pointer = f"void (*const run_{block.name})(rs_client *, rs_script *, rs_error **)"
                text.append(C_BODY.format(name=block.name, line=where(block), code=block.code))
                text.append(f"extern {pointer};\n{pointer} = {block.name};\n")
                declared.append(f"extern {pointer};")
                calls.append(block)
        objects.append(compiled("page_" + re.sub(r"\W", "_", page), "".join(text)))
    wanted = [f'run("{block.name}", argv[1], run_{block.name})' for block in calls if block.runs]
    driver = C_DRIVER.format(lua=LUA, declared="\n".join(declared), calls=" || ".join(wanted) or "0")
    run("cc", *objects, compiled("driver", driver), *LINKED, "-o", folder / "examples")
    return [folder / "examples"], {}, programs


CPP_HEAD = """#include <chrono>
#include <future>
#include <iostream>
#include <map>
#include <optional>
#include <ranges>
#include <string>
#include <tuple>
#include <vector>
#include <rs_script.hpp>
#include <rs_script_async.hpp>
using namespace std::chrono_literals;
"""
CPP_RUN = """
static void run(const char *name, const char *url, void (*body)(rs::Client &, rs::Script &)) {
    std::cout << '\\1' << name << std::endl;
    rs::Client client(url);
    client.command({"FLUSHALL"});
    client.command({"SET", "foo", 2});
    rs::Script multiply(client, "LUA");
    body(client, multiply);
    std::cout.flush();
}
int main(int, char **argv) try {
    (void)run;
    CALLS
} catch (const std::exception &error) {
    std::cerr << error.what() << std::endl;
    return 1;
}
"""


def cpp(all_blocks):
    folder = WORK / "cpp"
    flags = ["c++", "-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Wconversion", "-Werror", "-O0"]
    flags += ["-I", ROOT / "include", "-I", ROOT / "bindings/c"]
    calls, bodies, headers, programs = [], [], set(), {}
    for block in all_blocks:
        if block.is_program:
            source = write(folder / f"{block.name}.cpp", where(block) + block.code)
            programs[block.name] = folder / block.name
            run(*flags, "-std=c++17", source, *LINKED, "-o", programs[block.name])
            continue
        headers.update(re.findall(r"^#include .*", block.code, re.M))
        code = re.sub(r"^#include .*", "", block.code, flags=re.M)
        namespace = "page_" + re.sub(r"\W", "_", block.page)
        if block.is_declaration:
            bodies.append(f"namespace {namespace} {{\n{where(block)}{code}}}\n")
        else:
            bodies.append(
                f"namespace {namespace} {{\nstatic void {block.name}(rs::Client &client, rs::Script &multiply) {{\n"
                f"(void)client, (void)multiply;\n{{\n{where(block)}{code}}}\n}}\n}}\n"
            )
            calls.append((block, f"{namespace}::{block.name}"))
            if not block.runs:
                bodies.append(
                    f"[[maybe_unused]] static auto *const unused_{block.name} = {namespace}::{block.name};\n"
                )
    wanted = "\n    ".join(f'run("{block.name}", argv[1], {how});' for block, how in calls if block.runs)
    text = CPP_HEAD + "\n".join(sorted(headers)) + "\n" + "".join(bodies)
    source = write(folder / "examples.cpp", text + CPP_RUN.replace("LUA", LUA).replace("CALLS", wanted))
    run(*flags, "-std=c++20", source, *LINKED, "-o", folder / "examples")
    return [folder / "examples"], {}, programs


RUST_HEAD = """#![allow(dead_code, unused_imports)]
type Any = Result<(), Box<dyn std::error::Error>>;
include!("ROOT/tests/support/doctest.rs");
fn run(name: &str, url: &str, body: impl FnOnce(&rs_script::Client, &rs_script::Script) -> Any) {
    println!("\\u{1}{name}");
    let client = rs_script::Client::open(url, &rs_script::Options::default()).expect("a client");
    client.command("FLUSHALL").expect("FLUSHALL");
    client.command(("SET", "foo", 2)).expect("SET");
    let multiply = rs_script::Script::new("LUA");
    if let Err(error) = body(&client, &multiply) {
        panic!("{name}: {error}");
    }
}
"""


def rust(all_blocks):
    text, calls = [RUST_HEAD.replace("ROOT", str(ROOT)).replace("LUA", LUA)], []
    for block in all_blocks:
        text.append(f"// {block.page}:{block.line}\n")
        if block.is_program:
            code = re.sub(r"^fn main\(\)", "pub fn main()", block.code, flags=re.M)
            text.append(f"mod {block.name} {{\n{code}}}\n")
            calls.append((block, f"|_, _| Ok({block.name}::main()?)"))
        else:
            parameters = "client: &rs_script::Client, multiply: &rs_script::Script"
            is_async = ".await" in block.code
            text.append(
                f"{'async ' * is_async}fn {block.name}({parameters}) -> Any {{\nuse rs_script::*;\n"
                f"let _ = (client, multiply);\n{block.code}Ok(())\n}}\n"
            )
            calls.append((block, f"|c, m| block_on({block.name}(c, m))" if is_async else block.name))
    wanted = "".join(f'    run("{block.name}", &url, {how});\n' for block, how in calls if block.runs)
    text.append(f'fn main() {{\n    let url = std::env::args().nth(1).expect("a URL");\n{wanted}}}\n')
    source = write(WORK / "rust/examples.rs", "".join(text))
    run(
        "rustc",
        "--edition",
        "2024",
        "-D",
        "warnings",
        "--extern",
        f"rs_script={BUILT}/librs_script.rlib",
        "-L",
        f"dependency={BUILT}/deps",
        source,
        "-o",
        WORK / "rust/examples",
    )
    return [WORK / "rust/examples"], {}, {}


GO_PACKAGES = {
    "context": "context",
    "errors": "errors",
    "fmt": "fmt",
    "log": "log",
    "os": "os",
    "slog": "log/slog",
    "sync": "sync",
    "time": "time",
    "rsscript": "github.com/rs-script/rs_script/bindings/go",
    "rsotel": "github.com/rs-script/rs_script/bindings/go/rsotel",
    "rstest": "github.com/rs-script/rs_script/bindings/go/rstest",
    "testing": "testing",
}
GO_MAIN = """package main

import (
	"context"
	"fmt"
	"log"
	"os"

	rsscript "github.com/rs-script/rs_script/bindings/go"
)

func run(name string, body func(context.Context, *rsscript.Client, *rsscript.Script) error) {
	fmt.Printf("\\001%s\\n", name)
	ctx := context.Background()
	client, err := rsscript.Open(ctx, os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	err = rsscript.FirstErr([]rsscript.Result{client.Do(ctx, "FLUSHALL"), client.Do(ctx, "SET", "foo", 2)})
	if err == nil {
		err = body(ctx, client, client.Script("LUA"))
	}
	if err != nil {
		log.Fatal(name, ": ", err)
	}
}

func main() {
"""


def go(all_blocks):
    folder = WORK / "go"
    shutil.rmtree(folder, ignore_errors=True)
    calls = []

    def file(name, code):
        used = [path for word, path in GO_PACKAGES.items() if re.search(rf"\b{word}\.[A-Z]", code)]
        imports = "".join(f'\t{"rsscript " if path.endswith("bindings/go") else ""}"{path}"\n' for path in used)
        write(folder / f"{name}.go", f"package main\n\nimport (\n{imports})\n\n{code}")

    for block in all_blocks:
        line = f"//line {ROOT / block.page}:{block.line}\n"
        if block.is_program:
            code = re.sub(r"^func main\(\)", f"func {block.name}()", block.code, flags=re.M)
            write(folder / f"{block.name}.go", line + code)
            calls.append(
                (
                    block,
                    "func(context.Context, *rsscript.Client, *rsscript.Script) error "
                    f"{{ {block.name}(); return nil }}",
                )
            )
        elif block.is_declaration:
            file(block.name + ("_test" if "*testing.T" in block.code else ""), line + block.code)
        else:
            file(
                block.name,
                f"func {block.name}(ctx context.Context, client *rsscript.Client, multiply *rsscript.Script) "
                "error {\n"
                f"{line}{block.code}\treturn nil\n}}\n",
            )
            calls.append((block, block.name))
    wanted = "".join(f'\trun("{block.name}", {how})\n' for block, how in calls if block.runs)
    write(folder / "main.go", GO_MAIN.replace("LUA", LUA) + wanted + "}\n")
    module = (ROOT / "bindings/go/rsotel/go.mod").read_text()
    module = re.sub(r"^module .*", "module examples", module, flags=re.M)
    module = re.sub(r"^replace .*\n", "", module, flags=re.M)
    own = "github.com/rs-script/rs_script/bindings/go"
    module += f"\nrequire {own}/rsotel v0.0.0\nreplace {own} => {ROOT}/bindings/go\n"
    module += f"replace {own}/rsotel => {ROOT}/bindings/go/rsotel\n"
    write(folder / "go.mod", module)
    shutil.copy(ROOT / "bindings/go/rsotel/go.sum", folder)
    options = {"cwd": folder, "env": os.environ | {"GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod"}}
    run("go", "vet", "-tags", "rs_script_repository", ".", **options)
    run("go", "build", "-tags", "rs_script_repository", "-o", "examples", ".", **options)
    return [folder / "examples"], {}, {}


JS_RUN = """import { connect } from "rs_script";
const blocks = BLOCKS;
for (const [name, isProgram] of blocks) {
  console.log(`\\u0001${name}`);
  const client = await connect(process.argv[2]);
  await client.command("FLUSHALL");
  await client.command("SET", "foo", 2);
  const module = await import(`./${name}.mjs`);
  if (!isProgram) await module.default(client, client.script("LUA"));
  await client.close();
}
"""


def js(all_blocks):
    folder = WORK / "js"
    shutil.rmtree(folder, ignore_errors=True)
    wanted = []
    for block in all_blocks:
        code = block.code
        if not block.is_program:
            imports = "".join(re.findall(r"^import .*\n", code, re.M))
            code = re.sub(r"^import .*\n", "", code, flags=re.M)
            code = f"{imports}export default async function (client, multiply) {{\n{code}}}\n"
        source = write(folder / f"{block.name}.mjs", code)
        run("node", "--check", source)
        if block.runs:
            wanted.append(f'["{block.name}", {"true" if block.is_program else "false"}]')
    write(folder / "run.mjs", JS_RUN.replace("BLOCKS", "[" + ", ".join(wanted) + "]").replace("LUA", LUA))
    (folder / "node_modules").mkdir()
    (folder / "node_modules/rs_script").symlink_to(ROOT / "bindings/node")
    if not (ROOT / "bindings/node/node_modules").exists():
        environment = os.environ | {"CXXFLAGS": "-DNODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS"}
        run("npm", "ci", "--no-audit", "--no-fund", cwd=ROOT / "bindings/node", env=environment)
    environment = {
        "RS_SCRIPT_LIBRARY": str(
            next(path for path in BUILT.glob("librs_script.*") if path.suffix in (".so", ".dylib"))
        )
    }
    return ["node", "--preserve-symlinks", folder / "run.mjs"], environment, {}
