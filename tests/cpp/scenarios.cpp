// The scenarios that every language runs: tests/scenarios.json, which also says what their fields mean.
#include <rs_script.hpp>

#include <csignal>
#include <map>

#include "support/check.h"
#include "support/cluster.h"
#include "support/scenario.h"
#include "support/server.h"

namespace {

using Json = const cJSON *;
using Texts = std::vector<std::string>;

const cJSON *scripts, *libraries;

// The elements of a list; none where there is no list.
std::vector<Json> elements_of(Json list) {
    std::vector<Json> elements;
    Json element;
    cJSON_ArrayForEach(element, list) elements.push_back(element);
    return elements;
}

std::string text_of(Json value) {
    std::size_t len = 0;
    const std::unique_ptr<char, decltype(&std::free)> bytes(bytes_of(value, &len), std::free);
    return std::string(bytes.get(), len);
}

Texts texts_of(Json list) {
    Texts texts;
    for (Json value : elements_of(list)) texts.push_back(text_of(value));
    return texts;
}

// What a step came to: a reply, or an error, or a value that is no reply, or nothing.
struct Outcome {
    rs::Reply own_reply;
    std::optional<rs::Error> error;
    std::optional<rs::Pipeline> pipeline;     // one that was waited for
    std::optional<rs::Completion> completion; // of a call that was not
    std::optional<std::string> text;
    std::optional<std::vector<bool>> flags;
    std::optional<Texts> told; // of libraries, by each primary: a text, or how many there are

    rs::ReplyView reply() const { return completion ? completion->reply() : own_reply; }
    rs::ReplyView arrived() const {
        return completion ? completion->arrived() : rs::ReplyView(pipeline ? pipeline->arrived() : own_reply);
    }
};

bool is_expected(Json want, rs::ReplyView got);

bool is_expected(Json want, const rs::Error &got) {
    const std::string server_code(got.server_code());
    known_error known{};
    known.status = got.status_name();
    known.server_code = server_code.c_str();
    known.message = got.what();
    known.reason = got.reason_name();
    known.indeterminate = got.is_indeterminate();
    known.not_executed = got.is_not_executed();
    known.index = got.index() ? static_cast<int>(*got.index()) : -1;
    return is_expected_error(want, known);
}

bool are_expected(Json wanted, rs::ReplyView got) {
    auto element = got.begin();
    for (Json want : elements_of(wanted))
        if (element == got.end() || !is_expected(want, *element++)) return false;
    return element == got.end();
}

bool is_expected(Json want, rs::ReplyView got) {
    const std::int32_t type = expected_type(want);
    const auto has_text = [&] { return is_expected_text(want, got.string().data(), got.string().size()); };
    if (type == EXPECT_PART) return has_text();
    if (type != got.type()) return false;
    switch (type) {
    case RS_REPLY_NIL: return got.is_nil();
    case RS_REPLY_BOOLEAN: return got.boolean() == bool(cJSON_IsTrue(want));
    case RS_REPLY_INTEGER: return got.integer() == expected_integer(want);
    case RS_REPLY_DOUBLE: return is_same_double(got.number(), expected_double(want));
    case RS_REPLY_ERROR: return is_expected(want, got.error().value());
    case RS_REPLY_ARRAY: return are_expected(want, got);
    case RS_REPLY_MAP:
    case RS_REPLY_SET: return are_expected(want->child, got);
    case RS_REPLY_VERBATIM: return has_text() && got.verbatim_format() == text_field(want, "format", "");
    default: return has_text();
    }
}

bool came_to(Json want, const Outcome &got) {
    if (want && expected_type(want) == RS_REPLY_ERROR) {
        const Json arrived = field(want, "arrived");
        return got.error && is_expected(want, *got.error) &&
               (arrived ? is_expected(arrived, got.arrived()) : !got.arrived());
    }
    if (got.error) return false;
    if (!want) return true;
    if (got.text) return expected_type(want) == RS_REPLY_STRING && text_of(want) == *got.text;
    if (got.told) {
        Texts wanted;
        for (Json one : elements_of(want))
            wanted.push_back(cJSON_IsNumber(one) ? std::to_string(one->valueint) : text_of(one));
        return wanted == *got.told;
    }
    if (!got.flags) return is_expected(want, got.reply());
    const std::vector<Json> flags = elements_of(want);
    for (std::size_t i = 0; i < flags.size(); ++i)
        if (!cJSON_IsBool(flags[i]) || i >= got.flags->size() || cJSON_IsTrue(flags[i]) != (*got.flags)[i])
            return false;
    return cJSON_IsArray(want) && flags.size() == got.flags->size();
}

// The servers and clients of a scenario, and its calls that are not waited for yet.
class Run {
public:
    explicit Run(Json scenario) : scenario_(scenario) {
        const Json count = field(scenario, "servers");
        if (cJSON_IsString(count)) {
            CHECK_TEXT(count->valuestring, "cluster");
            const cluster three = cluster_start();
            servers_.assign(three.nodes, three.nodes + CLUSTER_NODES);
            clients_.emplace("client", rs::Client(three.url));
        } else {
            const int number = count ? count->valueint : 1;
            CHECK(number == 1 || number == 2);
            for (const char *name : {"client", "other"}) {
                if (int(servers_.size()) == number) break;
                servers_.push_back(server_start());
                clients_.emplace(name, rs::Client(server_url(servers_.back())));
            }
        }
        for (const server *one : servers_) bystanders_.emplace_back(server_url(one));
    }

    ~Run() {
        for (server *one : servers_)
            if (one) server_stop(one);
    }

    void steps() {
        int number = 0;
        for (Json step : elements_of(field(scenario_, "steps"))) this->step(++number, step);
        CHECK(queue_.empty() && ended_.empty());
    }

private:
    void step(int number, Json step) {
        const Json want = field(step, "expect");
        int left_ms = text_field(step, "do", "") == std::string_view("until") ? 60000 : 0;
        for (;;) {
            Outcome got;
            try {
                does(text_field(step, "do", ""), step, got);
            } catch (const rs::Error &error) {
                got.error = error;
            } catch (const std::out_of_range &) {
                FAIL("no such client, call or server: %s", cJSON_PrintUnformatted(step));
            }
            if (const char *start = text_field(step, "start", nullptr)) {
                if (got.error) ended_[tags_.at(start)] = std::move(got);
                return;
            }
            if (came_to(want, got)) return;
            if (left_ms-- == 0)
                step_failed(scenario_, number, step, (got.error ? got.arrived() : got.reply()).get(),
                            got.error ? got.error->status_name() : "RS_OK",
                            got.error ? got.error->what() : got.text.value_or("").c_str());
            pause_ms(1);
        }
    }

    void does(std::string_view verb, Json step, Outcome &got) {
        const rs::Client &client = clients_.at(text_field(step, "on", "client"));
        const int timeout = number_field(step, "timeoutMs");
        rs::CallOptions options;
        if (timeout) options.timeout = std::chrono::milliseconds(timeout);
        const rs::Client sender = client.with(options);
        options.read_only = has_flag(step, "readOnly");
        if (field(step, "token")) options.token = text_field(step, "token", "");
        const rs::Queue *queue = nullptr;
        std::uint64_t tag = 0;
        if (const char *start = text_field(step, "start", nullptr)) {
            queue = &queue_;
            CHECK(tags_.emplace(start, tag = tags_.size()).second);
        }
        if (verb == "register") {
            got.text = script(client, step).sha();
        } else if (verb == "call") {
            call(client, options, step, queue, tag, got);
        } else if (verb == "command") {
            command(client, options, step, queue, tag, got);
        } else if (verb == "pipeline") {
            const bool is_repaired = has_flag(step, "repairUnordered");
            exec(client, client.pipeline(is_repaired ? RS_PIPELINE_REPAIR_UNORDERED : 0), options, step, queue, tag,
                 got);
        } else if (verb == "transaction") {
            const bool is_trusting = has_flag(step, "trustCache");
            exec(client, client.transaction(is_trusting ? RS_PIPELINE_TRUST_CACHE : 0), options, step, queue, tag,
                 got);
        } else if (verb == "load") {
            sender.script_load(script(client, step));
        } else if (verb == "exists") {
            Texts shas;
            for (Json name : elements_of(field(step, "scripts"))) {
                const Json source = field(scripts, name->valuestring);
                shas.push_back(source ? rs::Script(text_of(source)).sha() : name->valuestring);
            }
            got.flags = sender.script_exists(shas);
        } else if (verb == "flush") {
            sender.script_flush();
        } else if (verb == "kill") {
            sender.script_kill();
        } else if (verb == "stop") {
            got.own_reply = sender.kill();
        } else if (verb.substr(0, 7) == "library") {
            const rs::Reply told = administer(sender, verb, step);
            got.told.emplace();
            for (std::size_t i = 1; i < told.size(); i += 2)
                got.told->push_back(told[i].type() == RS_REPLY_STRING ? told[i].as<std::string>()
                                                                      : std::to_string(told[i].size()));
        } else if (verb == "open") {
            rs::Client opened(text_field(step, "url", ""));
        } else if (verb == "close") {
            client.close();
        } else if (verb == "cancel") {
            client.cancel(queue_, tags_.at(text_field(step, "call", "")));
        } else if (verb == "await") {
            await(tags_.at(text_field(step, "call", "")), got);
        } else if (verb == "outside" || verb == "until") {
            command(bystanders_.at(static_cast<std::size_t>(number_field(step, "server"))), options, step, nullptr, 0,
                    got);
        } else if (verb == "server") {
            happens(text_field(step, "event", ""),
                    servers_.at(static_cast<std::size_t>(number_field(step, "server"))));
        } else {
            FAIL("a step of a kind that is not known: %s", cJSON_PrintUnformatted(step));
        }
    }

    static rs::Library library(const rs::Client &client, const char *name, Json step) {
        const Json source = field(libraries, name);
        if (!source) FAIL("a library that is not known: %s", cJSON_PrintUnformatted(step));
        return rs::Library(client, text_of(source), rs::LibraryOptions{has_flag(step, "named")});
    }

    static rs::Script script(const rs::Client &client, Json call) {
        rs::ScriptOptions options;
        options.idempotent = has_flag(call, "idempotent");
        options.as_function = has_flag(call, "asFunction");
        if (has_flag(call, "once")) options.once = rs::Once{};
        if (const char *function = text_field(call, "function", nullptr))
            return library(client, text_field(call, "library", ""), call).function(function, options);
        const Json source = field(scripts, text_field(call, "script", ""));
        if (!source) FAIL("a script that is not known: %s", cJSON_PrintUnformatted(call));
        return rs::Script(client, text_of(source), options);
    }

    static rs::Reply administer(const rs::Client &sender, std::string_view verb, Json step) {
        if (verb == "libraryList") return sender.library_list();
        if (verb == "libraryPrune") {
            std::vector<rs::Library> keep;
            for (Json name : elements_of(field(step, "libraries")))
                keep.push_back(library(sender, name->valuestring, step));
            return sender.library_prune({keep.begin(), keep.end()});
        }
        const rs::Library its = library(sender, text_field(step, "library", ""), step);
        if (verb == "libraryLoad") return sender.library_load(its);
        if (verb == "libraryCheck") return sender.library_check(its);
        if (verb == "libraryDeploy") return sender.library_deploy(its);
        FAIL("a step of a kind that is not known: %s", cJSON_PrintUnformatted(step));
    }

    static void call(const rs::Client &client, const rs::CallOptions &options, Json step, const rs::Queue *queue,
                     std::uint64_t tag, Outcome &got) {
        const rs::Script script = Run::script(client, step);
        const Texts keys = texts_of(field(step, "keys")), args = texts_of(field(step, "args"));
        if (queue) script.submit(*queue, tag, keys, args, options);
        else got.own_reply = script.call(keys, args, options);
    }

    static void command(const rs::Client &client, const rs::CallOptions &options, Json step, const rs::Queue *queue,
                        std::uint64_t tag, Outcome &got) {
        const Texts words = texts_of(field(step, "words"));
        if (queue) client.submit(*queue, tag, words, options);
        else got.own_reply = client.command(words, options);
    }

    static void exec(const rs::Client &client, rs::Pipeline pipeline, const rs::CallOptions &options, Json step,
                     const rs::Queue *queue, std::uint64_t tag, Outcome &got) {
        for (Json item : elements_of(field(step, "items"))) {
            const Texts keys = texts_of(field(item, "keys")), args = texts_of(field(item, "args"));
            rs::CallOptions own;
            own.read_only = has_flag(item, "readOnly");
            if (field(item, "token")) own.token = text_field(item, "token", "");
            if (field(item, "command")) pipeline.command(texts_of(field(item, "command")));
            else pipeline.script(script(client, item), keys, args, own);
        }
        if (queue) return pipeline.submit(*queue, tag, options);
        got.pipeline = std::move(pipeline);
        got.own_reply = got.pipeline->exec(options);
    }

    void await(std::uint64_t tag, Outcome &got) {
        while (ended_.count(tag) == 0) {
            std::vector<rs::Completion> some = queue_.poll(1, std::chrono::minutes(1));
            CHECK_INT(some.size(), 1);
            Outcome &ended = ended_[some[0].tag()];
            ended.error = some[0].error();
            ended.completion = std::move(some[0]);
        }
        got = std::move(ended_.at(tag));
        ended_.erase(tag);
    }

    static void happens(std::string_view event, server *&to) {
        CHECK(to != nullptr);
        if (event == "kill") server_stop(std::exchange(to, nullptr));
        else if (event == "pause") CHECK_INT(kill(server_pid(to), SIGSTOP), 0);
        else if (event == "resume") CHECK_INT(kill(server_pid(to), SIGCONT), 0);
        else FAIL("an event that is not known: %s", std::string(event).c_str());
    }

    Json scenario_;
    std::vector<server *> servers_;
    std::vector<rs::Client> bystanders_; // somebody else's, one at each server
    std::map<std::string, rs::Client> clients_;
    rs::Queue queue_{16};
    std::map<std::string, std::uint64_t> tags_;
    std::map<std::uint64_t, Outcome> ended_;
};

} // namespace

int main() {
    const std::unique_ptr<cJSON, decltype(&cJSON_Delete)> all(scenarios_read(), cJSON_Delete);
    scripts = field(all.get(), "scripts");
    libraries = field(all.get(), "libraries");
    for (Json scenario : elements_of(field(all.get(), "scenarios"))) {
        std::fprintf(stderr, "%s\n", text_field(scenario, "name", nullptr));
        Run(scenario).steps();
    }
}
