// Libraries of functions, scripts as functions, and calls that happen once, in C++.
#include <rs_script.hpp>

#include <map>
#include <string>
#include <vector>

#include "support/check.h"
#include "support/cluster.h"
#include "support/server.h"
#include "thrown_by.hpp"

namespace {

using namespace std::chrono_literals;
using States = std::map<std::string, std::string>;

constexpr std::string_view source =
    "#!lua name=lib\n"
    "redis.register_function('count', function(keys) return redis.call('INCR', keys[1]) end)\n"
    "redis.register_function{function_name='get', callback=function(keys) return redis.call('GET', keys[1]) end, "
    "flags={'no-writes'}}\n"
    "redis.register_function('forge', function(keys, args) return redis.error_reply(args[1]) end)\n";
constexpr std::string_view newer =
    "#!lua name=lib\n"
    "redis.register_function('count', function(keys) return redis.call('INCRBY', keys[1], 10) end)\n";
constexpr std::string_view add = "return redis.call('INCRBY', KEYS[1], ARGV[1])";

rs::LibraryOptions named() {
    rs::LibraryOptions options;
    options.named = true;
    return options;
}

rs::ScriptOptions once() {
    rs::ScriptOptions options;
    options.once = rs::Once{};
    return options;
}

rs::CallOptions with_token(std::string_view token) {
    rs::CallOptions options;
    options.token = token;
    return options;
}

rs::CallOptions reading() {
    rs::CallOptions options;
    options.read_only = true;
    return options;
}

// Takes all libraries away, on every primary.
void flush(const rs::Client &client) {
    rs::CallOptions everywhere;
    everywhere.route = rs::Route::all();
    client.command({"FUNCTION", "FLUSH"}, everywhere);
}

void calls(const rs::Client &client) {
    std::optional<rs::Library> library(std::in_place, client, source);
    CHECK(library->name().size() == 16 && library->name().compare(0, 4, "lib_") == 0);
    const rs::Script count = library->function("count"), get = library->function("get");
    const rs::Script forge = library->try_function("forge").value();
    CHECK(count.function_name().compare(0, 6, "count_") == 0 && count.sha() != std::string(get.sha()));
    library.reset(); // its functions go on
    const std::uint64_t before = client.stats().round_trips;
    CHECK_INT(count.call({"n"}, {}).integer(), 1);
    CHECK_INT(client.stats().round_trips - before, 1);
    flush(client);
    CHECK_INT(count.call(client, {"n"}, {}).integer(), 2);
    CHECK(get.call({"n"}, {}, reading()).as<std::string>() == "2");
    const rs::Error forged = forge.try_call({"n"}, {"ERR Function not found"}).error();
    CHECK(forged.status() == RS_ERR_SERVER && !forged.is_not_executed());
    CHECK_HOLDS(forged.what(), "ERR Function not found script: rs");
    flush(client);
    CHECK_INT(client.transaction().script(count, {"n"}, {}).script(count, {"n"}, {}).exec()[1].integer(), 4);
    rs::Queue queue(4);
    count.submit(queue, 7, {"n"}, {});
    CHECK_INT(queue.poll(1, 1min).at(0).reply().integer(), 5);

    rs::ScriptOptions as_function;
    as_function.as_function = as_function.idempotent = true;
    as_function.name = "incr";
    const rs::Script script(client, "return redis.call('INCR', KEYS[1])", as_function);
    CHECK(script.function_name().compare(0, 3, "rs_") == 0 && script.name() == "incr");
    CHECK_INT(script.call({"n"}, {}).integer(), 6);
    CHECK(rs::Script("return 1").function_name().empty());
}

void refused(const rs::Client &client) {
    CHECK_INT(rs::Library::try_register("return 1").error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(thrown_by([&] { rs::Library(client, "return 1"); }).status(), RS_ERR_INVALID_ARGUMENT);
    const rs::Library library(source);
    rs::ScriptOptions as_function;
    as_function.as_function = true;
    for (const rs::Result<rs::Script> &function :
         {library.try_function("a b"), library.try_function(""), library.try_function("count", as_function),
          library.try_function("count", once())})
        CHECK_INT(function.error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(thrown_by([&] { return library.function("a b"); }).status(), RS_ERR_INVALID_ARGUMENT);
    // It belongs to no client.
    CHECK_INT(library.function("count").try_call({"n"}, {}).error().status(), RS_ERR_INVALID_ARGUMENT);
    const rs::Library broken(client, "#!lua name=broken\nreturn return");
    CHECK_INT(broken.function("f").try_call({}, {}).error().status(), RS_ERR_COMPILE);
    CHECK_INT(client.try_library_load(broken).error().status(), RS_ERR_COMPILE);
    const rs::Error missing = rs::Library(client, source).function("missing").try_call({}, {}).error();
    CHECK(missing.status() == RS_ERR_NO_FUNCTION && missing.is_not_executed());
    rs::Library one(source);
    const rs::Library other = std::move(one);
    CHECK_INT(client.try_library_check(one).error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(one.try_function("count").error().status(), RS_ERR_INVALID_ARGUMENT);
    const rs::Library not_pinned(source, named());
    for (const rs::Result<rs::Reply> &pruned :
         {client.try_library_prune({}), client.try_library_prune({one}), client.try_library_prune({not_pinned})})
        CHECK_INT(pruned.error().status(), RS_ERR_INVALID_ARGUMENT);
}

// That each of so many primaries says this.
void all_say(const rs::Reply &told, std::size_t primaries, std::string_view text) {
    const States states = told.as<States>();
    CHECK_INT(states.size(), primaries);
    for (const auto &[node, state] : states) CHECK(!node.empty() && state == text);
}

void administered(const rs::Client &client, std::size_t primaries) {
    const rs::Library older(client, source, named()), later(client, newer, named());
    CHECK(older.name() == "lib");
    all_say(client.library_check(older), primaries, "absent");
    all_say(client.library_load(older), primaries, "loaded");
    all_say(client.library_load(later), primaries, "there");
    all_say(client.library_check(later), primaries, "different");
    all_say(client.library_deploy(later), primaries, "same");
    all_say(client.library_check(older), primaries, "different");
    CHECK_INT(older.function("get").try_call({"n"}, {}).error().status(), RS_ERR_NO_FUNCTION);
    const rs::Library pinned(client, source), next(client, newer);
    client.library_load(pinned);
    client.library_load(next);
    CHECK_INT(client.library_list()[1].size(), 3);
    using Removed = std::map<std::string, std::vector<std::string>>;
    for (std::size_t gone : {1, 0}) {
        const Removed removed = client.library_prune({next}).as<Removed>();
        CHECK_INT(removed.size(), primaries);
        for (const auto &[node, names] : removed) CHECK(names == std::vector<std::string>(gone, pinned.name()));
    }
    all_say(client.library_check(pinned), primaries, "absent");
    all_say(client.library_check(next), primaries, "same");
}

void tokens(const rs::Client &client, const rs::Client &other) {
    client.command({"DEL", "n"});
    rs::ScriptOptions options = once();
    options.as_function = true;
    for (const rs::Script &script : {rs::Script(client, add, once()), rs::Script(client, add, options)}) {
        const std::int64_t before = client.command({"INCRBY", "n", 0}).integer();
        const std::string token = "job " + std::to_string(before);
        for (int i = 0; i < 2; ++i) {
            CHECK_INT(script.call({"n"}, {5}, with_token(token)).integer(), before + 5);
            CHECK_INT(script.call(other, {"n"}, {5}, with_token(token)).integer(), before + 5);
        }
        const rs::Error mismatch = script.try_call({"n"}, {6}, with_token(token)).error();
        CHECK(mismatch.status() == RS_ERR_TOKEN_MISMATCH && mismatch.is_not_executed());
        CHECK_INT(script.call({"n"}, {5}).integer(), before + 10);
        rs::Queue queue(4);
        script.submit(queue, 1, {"n"}, {5}, with_token(token));
        CHECK_INT(queue.poll(1, 1min).at(0).reply().integer(), before + 5);
        for (int i = 0; i < 2; ++i) {
            rs::Pipeline pipeline = i == 0 ? client.pipeline() : client.transaction();
            const std::string all = token + " of all", one = token + " of one";
            pipeline.script(script, {"n"}, {1}, with_token(one));
            CHECK_INT(pipeline.exec()[0].integer(), before + 11);
            pipeline.script(script, {"n"}, {1}).script(script, {"n"}, {1});
            CHECK_INT(pipeline.exec(with_token(all))[1].integer(), before + 13);
        }
        CHECK_INT(client.command({"INCRBY", "n", 0}).integer(), before + 13);
    }
    rs::LibraryOptions library_options;
    library_options.once = rs::Once{};
    const rs::Script counted = rs::Library(client, source, library_options).function("count");
    client.command({"DEL", "n"});
    for (int i = 0; i < 2; ++i) CHECK_INT(counted.call({"n"}, {}, with_token("of a function")).integer(), 1);
    CHECK_INT(counted.call({"n"}, {}).integer(), 2);
    library_options.named = true;
    CHECK_INT(rs::Library::try_register(source, library_options).error().status(), RS_ERR_INVALID_ARGUMENT);
    const rs::Script plain(client, add);
    CHECK_INT(plain.try_call({"n"}, {5}, with_token("t")).error().status(), RS_ERR_INVALID_ARGUMENT);
    CHECK_INT(client.try_command({"GET", "n"}, with_token("t")).error().status(), RS_ERR_INVALID_ARGUMENT);
    rs::ScriptOptions both = once();
    both.idempotent = true;
    CHECK_INT(rs::Script::try_register(add, both).error().status(), RS_ERR_INVALID_ARGUMENT);
    rs::ScriptOptions small;
    small.once = rs::Once{};
    small.once->reply_limit = 64;
    const rs::Script rep(client, "return string.rep('x', 100)", small);
    CHECK_INT(rep.call({"n"}, {}, with_token("long")).as<std::string>().size(), 100);
    CHECK_INT(rep.try_call({"n"}, {}, with_token("long")).error().status(), RS_ERR_REPLY_NOT_KEPT);
    // There is no replica.
    rs::ScriptOptions replicated = once();
    replicated.once->wait_replicas = 1;
    replicated.once->wait_timeout = 1ms;
    rs::CallOptions impatient;
    impatient.timeout = 500ms;
    const rs::Error alone = rs::Script(client, add, replicated).try_call({"n"}, {1}, impatient).error();
    CHECK(alone.status() == RS_ERR_NOT_REPLICATED && alone.is_indeterminate());
}

} // namespace

int main() {
    server *redis = server_start();
    {
        const rs::Client client(server_url(redis)), other(server_url(redis));
        calls(client);
        refused(client);
        flush(client);
        administered(client, 1);
        tokens(client, other);
    }
    server_stop(redis);
    const cluster three = cluster_start();
    const rs::Client client(three.url);
    calls(client);
    flush(client);
    administered(client, CLUSTER_NODES);
}
