/* The scenarios that every language runs: tests/scenarios.json, which also says what their fields mean. */
#include <signal.h>

#include "support/check.h"
#include "support/cluster.h"
#include "support/scenario.h"
#include "support/server.h"

enum { STARTED_MAX = 16 };

/* What a step came to: a reply, or an error and perhaps what arrived before it, or a value that is no reply, or
   nothing. */
typedef struct outcome {
    rs_reply *reply;
    rs_error *error;
    cJSON *value;
} outcome;

/* A call that is not waited for yet; its place among them is its tag. */
typedef struct started {
    const char *name;
    rs_client *client;
    bool has_ended, is_taken;
    outcome outcome;
} started;

/* How a call is made: waited for where there is no queue. */
typedef struct way {
    rs_client *client, *other_deadline; /* the second one may be NULL */
    rs_queue *queue;
    uint64_t tag;
} way;

static const cJSON *scripts, *libraries;

/* The scenario that is run now. */
static int server_count;
static server *servers[CLUSTER_NODES];
static rs_client *bystanders[CLUSTER_NODES]; /* somebody else's, one at each server */
static rs_client *client, *other;
static rs_queue *queue;
static started calls[STARTED_MAX];
static size_t call_count;

/* ---- What is handed over ---- */

typedef struct strings {
    size_t count;
    char **data;
    size_t *lens;
} strings;

static strings strings_of(const cJSON *list) {
    strings all = {(size_t)cJSON_GetArraySize(list), NULL, NULL};
    const cJSON *value;
    size_t i = 0;
    all.data = calloc(all.count + 1, sizeof *all.data);
    all.lens = calloc(all.count + 1, sizeof *all.lens);
    CHECK(all.data != NULL && all.lens != NULL);
    cJSON_ArrayForEach(value, list) {
        all.data[i] = bytes_of(value, &all.lens[i]);
        i++;
    }
    return all;
}

static const char *const *data(strings all) { return (const char *const *)all.data; }

static void strings_free(strings all) {
    for (size_t i = 0; i < all.count; i++) free(all.data[i]);
    free(all.data);
    free(all.lens);
}

static rs_script *script_named(const char *name, uint32_t flags, rs_client *on) {
    rs_script *script = NULL;
    size_t len;
    if (field(scripts, name) == NULL) FAIL("a script that is not known: %s", name);
    char *lua = bytes_of(field(scripts, name), &len);
    CHECK_OK(rs_script_register(on, lua, len, RS_SCRIPT_OPTIONS(.flags = flags), &script, &err));
    free(lua);
    return script;
}

static rs_status library_named(const char *name, bool is_named, rs_client *on, rs_library **library, rs_error **error) {
    size_t len;
    if (field(libraries, name) == NULL) FAIL("a library that is not known: %s", name);
    char *source = bytes_of(field(libraries, name), &len);
    const rs_status status = rs_library_register(
        on, source, len, RS_LIBRARY_OPTIONS(.flags = is_named ? RS_LIBRARY_NAMED : 0), library, error);
    free(source);
    return status;
}

/* The script or function of a step or item; NULL with an error where there is none. */
static rs_script *script_of(const cJSON *call, rs_client *on, rs_error **error) {
    const uint32_t flags = (has_flag(call, "idempotent") ? RS_SCRIPT_IDEMPOTENT : 0) |
        (has_flag(call, "once") ? RS_SCRIPT_ONCE : 0) |
                           (has_flag(call, "asFunction") ? RS_SCRIPT_AS_FUNCTION : 0);
    const char *name = text_field(call, "function", NULL);
    rs_script *script = NULL;
    if (name != NULL) {
        rs_library *library = NULL;
        if (library_named(text_field(call, "library", ""), has_flag(call, "named"), on, &library, error) == RS_OK &&
            rs_library_function(library, name, strlen(name), RS_SCRIPT_OPTIONS(.flags = flags),
                                &script, error) != RS_OK)
            CHECK_NULL(script);
        rs_library_free(library);
        return script;
    }
    size_t len;
    if (field(scripts, text_field(call, "script", "")) == NULL)
        FAIL("a script that is not known: %s", cJSON_PrintUnformatted(call));
    char *lua = bytes_of(field(scripts, text_field(call, "script", "")), &len);
    if (rs_script_register(on, lua, len, RS_SCRIPT_OPTIONS(.flags = flags), &script, error) != RS_OK)
        CHECK_NULL(script);
    free(lua);
    return script;
}

/* The options of a step or item; NULL where it has none. */
static const rs_call_options *options_of(const cJSON *call, rs_call_options *options) {
    const rs_call_options nothing = RS_CALL_OPTIONS_INIT;
    const char *token = text_field(call, "token", NULL);
    if (token == NULL && !has_flag(call, "readOnly")) return NULL;
    *options = nothing;
    if (has_flag(call, "readOnly")) options->flags = RS_CALL_READ_ONLY;
    options->token = token;
    options->token_len = token != NULL ? strlen(token) : 0;
    return options;
}

/* ---- Steps: each sets what it came to, and returns the status ---- */

static rs_client *sender(way way) { return way.other_deadline != NULL ? way.other_deadline : way.client; }

static rs_status call(const cJSON *step, way way, outcome *out) {
    rs_script *script = script_of(step, way.client, &out->error);
    if (script == NULL) return rs_error_status(out->error);
    strings keys = strings_of(field(step, "keys")), args = strings_of(field(step, "args"));
    rs_call_options own;
    const rs_call_options *options = options_of(step, &own);
    rs_status status;
    if (way.queue == NULL)
        status = rs_script_call(script, way.other_deadline, keys.count, data(keys), keys.lens, args.count, data(args),
                                args.lens, options, &out->reply, &out->error);
    else
        status = rs_script_submit(script, way.other_deadline, keys.count, data(keys), keys.lens, args.count, data(args),
                                  args.lens, options, way.queue, way.tag, &out->error);
    strings_free(keys);
    strings_free(args);
    rs_script_free(script);
    return status;
}

static rs_status command_of(const cJSON *step, way way, outcome *out) {
    strings words = strings_of(field(step, "words"));
    const rs_status status = way.queue == NULL ? rs_client_command(sender(way), words.count, data(words), words.lens,
                                                                   NULL, &out->reply, &out->error)
                                               : rs_client_submit(sender(way), words.count, data(words), words.lens,
                                                                  NULL, way.queue, way.tag, &out->error);
    strings_free(words);
    return status;
}

static rs_status outside(const cJSON *step, way way, outcome *out) {
    const int number = number_field(step, "server");
    CHECK(number < server_count);
    way.client = bystanders[number];
    return command_of(step, way, out);
}

static rs_status append(rs_pipeline *pipeline, const cJSON *item, rs_client *on, rs_error **err) {
    const cJSON *command = field(item, "command");
    strings keys = strings_of(command != NULL ? command : field(item, "keys")), args = strings_of(field(item, "args"));
    rs_call_options own;
    rs_script *script = command != NULL ? NULL : script_of(item, on, err);
    CHECK(command != NULL || script != NULL);
    const rs_status status = command != NULL
                                 ? rs_pipeline_command(pipeline, keys.count, data(keys), keys.lens, NULL, err)
                                 : rs_pipeline_script(pipeline, script, keys.count, data(keys), keys.lens, args.count,
                                                      data(args), args.lens,
                                                      options_of(item, &own), err);
    strings_free(keys);
    strings_free(args);
    rs_script_free(script);
    return status;
}

static rs_status pipeline_with(uint32_t flags, const cJSON *step, way way, outcome *out) {
    rs_pipeline *pipeline = NULL;
    const cJSON *item;
    rs_call_options own;
    rs_status status = RS_OK;
    CHECK_OK(rs_pipeline_new(sender(way), flags, &pipeline, &err));
    cJSON_ArrayForEach(item, field(step, "items")) {
        if (status == RS_OK) status = append(pipeline, item, way.client, &out->error);
    }
    if (status == RS_OK)
        status = way.queue == NULL ? rs_pipeline_exec(pipeline, options_of(step, &own), &out->reply, &out->error)
                                   : rs_pipeline_submit(pipeline, options_of(step, &own), way.queue, way.tag,
                                                        &out->error);
    rs_pipeline_free(pipeline);
    return status;
}

static rs_status exists(const cJSON *step, way way, outcome *out) {
    enum { SHAS_MAX = 8 };
    rs_script *known[SHAS_MAX] = {NULL};
    const char *shas[SHAS_MAX];
    bool exist[SHAS_MAX];
    size_t count = 0;
    const cJSON *name;
    cJSON_ArrayForEach(name, field(step, "scripts")) {
        CHECK(count < SHAS_MAX);
        if (field(scripts, name->valuestring) != NULL) known[count] = script_named(name->valuestring, 0, way.client);
        shas[count] = known[count] != NULL ? rs_script_sha(known[count]) : name->valuestring;
        count++;
    }
    const rs_status status = rs_client_script_exists(sender(way), count, shas, NULL, exist, &out->error);
    out->value = cJSON_CreateArray();
    for (size_t i = 0; i < count; i++) {
        CHECK(cJSON_AddItemToArray(out->value, cJSON_CreateBool(exist[i])));
        rs_script_free(known[i]);
    }
    return status;
}

/* What each primary has told of libraries: a text, or how many there are. */
static void tell(outcome *out) {
    out->value = cJSON_CreateArray();
    CHECK_INT(rs_reply_type(out->reply), RS_REPLY_MAP);
    for (size_t i = 1; i < rs_reply_len(out->reply); i += 2) {
        const rs_reply *said = rs_reply_element(out->reply, i);
        const char *text = rs_reply_string(said, NULL);
        CHECK(cJSON_AddItemToArray(out->value, text != NULL ? cJSON_CreateString(text)
                                                            : cJSON_CreateNumber((double)rs_reply_len(said))));
    }
}

static rs_status administer_library(const char *verb, const cJSON *step, way way, outcome *out) {
    enum { LIBRARIES_MAX = 8 };
    rs_library *keep[LIBRARIES_MAX] = {NULL};
    size_t count = 0;
    const cJSON *name;
    rs_status status = RS_OK;
    cJSON_ArrayForEach(name, field(step, "libraries")) {
        CHECK(count < LIBRARIES_MAX);
        CHECK_OK(library_named(name->valuestring, has_flag(step, "named"), way.client, &keep[count++], &err));
    }
    if (field(step, "library") != NULL)
        status = library_named(text_field(step, "library", NULL), has_flag(step, "named"), way.client,
                               &keep[0], &out->error);
    if (status != RS_OK) return status;
    if (strcmp(verb, "libraryLoad") == 0)
        status = rs_client_library_load(sender(way), keep[0], &out->reply, &out->error);
    else if (strcmp(verb, "libraryCheck") == 0)
        status = rs_client_library_check(sender(way), keep[0], &out->reply, &out->error);
    else if (strcmp(verb, "libraryDeploy") == 0)
        status = rs_client_library_deploy(sender(way), keep[0], &out->reply, &out->error);
    else if (strcmp(verb, "libraryList") == 0)
        status = rs_client_library_list(sender(way), &out->reply, &out->error);
    else if (strcmp(verb, "libraryPrune") == 0)
        status = rs_client_library_prune(sender(way), count, (const rs_library *const *)keep, &out->reply, &out->error);
    else
        FAIL("a step of a kind that is not known: %s", verb);
    if (status == RS_OK) tell(out);
    for (size_t i = 0; i < LIBRARIES_MAX; i++) rs_library_free(keep[i]);
    return status;
}

/* The call that a step cancels or awaits. */
static started *call_of(const cJSON *step) {
    for (size_t i = 0; i < call_count; i++)
        if (strcmp(calls[i].name, text_field(step, "call", "")) == 0) return &calls[i];
    FAIL("a call that was not started: %s", cJSON_PrintUnformatted(step));
}

static rs_status await(const cJSON *step, outcome *out) {
    started *call = call_of(step);
    while (!call->has_ended) {
        rs_completion done;
        size_t count = 0;
        CHECK_OK(rs_queue_poll(queue, &done, 1, 60000, &count, &err));
        CHECK_INT(count, 1);
        CHECK(done.tag < call_count && !calls[done.tag].has_ended);
        CHECK_INT(done.status, rs_error_status(done.error));
        calls[done.tag].outcome = (outcome){.reply = done.reply, .error = done.error};
        calls[done.tag].has_ended = true;
    }
    CHECK(!call->is_taken);
    call->is_taken = true;
    *out = call->outcome;
    return rs_error_status(out->error);
}

static void happens(const char *event, int number) {
    CHECK(number < server_count && servers[number] != NULL);
    if (strcmp(event, "kill") == 0) {
        server_stop(servers[number]);
        servers[number] = NULL;
    } else if (strcmp(event, "pause") == 0) {
        CHECK_INT(kill(server_pid(servers[number]), SIGSTOP), 0);
    } else if (strcmp(event, "resume") == 0) {
        CHECK_INT(kill(server_pid(servers[number]), SIGCONT), 0);
    } else {
        FAIL("an event that is not known: %s", event);
    }
}

static rs_status does(const char *verb, const cJSON *step, way way, outcome *out) {
#define IS(name) (strcmp(verb, name) == 0)
    if (IS("call")) return call(step, way, out);
    if (IS("command")) return command_of(step, way, out);
    if (IS("pipeline"))
        return pipeline_with(has_flag(step, "repairUnordered") ? RS_PIPELINE_REPAIR_UNORDERED : 0, step, way, out);
    if (IS("transaction"))
        return pipeline_with(RS_PIPELINE_ATOMIC | (has_flag(step, "trustCache") ? RS_PIPELINE_TRUST_CACHE : 0),
                             step, way, out);
    if (IS("exists")) return exists(step, way, out);
    if (IS("flush")) return rs_client_script_flush(sender(way), RS_FLUSH_DEFAULT, &out->error);
    if (IS("kill")) return rs_client_script_kill(sender(way), &out->error);
    if (IS("stop")) return rs_client_kill(sender(way), &out->reply, &out->error);
    if (IS("cancel"))
        return rs_client_cancel(call_of(step)->client, queue, (uint64_t)(call_of(step) - calls), NULL, &out->error);
    if (IS("await")) return await(step, out);
    if (strncmp(verb, "library", strlen("library")) == 0) return administer_library(verb, step, way, out);
    if (IS("outside") || IS("until")) return outside(step, way, out);
    if (IS("register") || IS("load")) {
        rs_script *script = script_of(step, way.client, &out->error);
        CHECK(script != NULL);
        const rs_status status = IS("load") ? rs_client_script_load(sender(way), script, &out->error) : RS_OK;
        if (IS("register")) out->value = cJSON_CreateString(rs_script_sha(script));
        rs_script_free(script);
        return status;
    }
    if (IS("open")) {
        rs_client *opened = NULL;
        const rs_status status = rs_client_open(text_field(step, "url", NULL), NULL, &opened, &out->error);
        rs_client_free(opened);
        return status;
    }
    if (IS("close"))
        rs_client_close(way.client);
    else if (IS("server"))
        happens(text_field(step, "event", ""), number_field(step, "server"));
    else
        FAIL("a step of a kind that is not known: %s", verb);
    return RS_OK;
#undef IS
}

/* ---- What must come of them ---- */

static known_error known(const rs_error *error) {
    const known_error known = {.status = rs_status_name(rs_error_status(error)),
                               .server_code = rs_error_server_code(error),
                               .message = rs_error_message(error),
                               .reason = rs_reason_name(rs_error_reason(error)),
                               .indeterminate = rs_error_is_indeterminate(error),
                               .not_executed = rs_error_is_not_executed(error),
                               .index = rs_error_index(error) == RS_NO_INDEX ? -1 : (int)rs_error_index(error)};
    return known;
}

static bool is_expected(const cJSON *want, const rs_reply *got) {
    const int32_t type = expected_type(want), got_type = rs_reply_type(got);
    size_t len, i = 0;
    const char *bytes = rs_reply_string(got, &len);
    if (type == EXPECT_PART) return bytes != NULL && is_expected_text(want, bytes, len);
    if (type != got_type) return false;
    switch (type) {
    case RS_REPLY_NIL: return true;
    case RS_REPLY_BOOLEAN: return rs_reply_integer(got) == cJSON_IsTrue(want);
    case RS_REPLY_INTEGER: return rs_reply_integer(got) == expected_integer(want);
    case RS_REPLY_DOUBLE: return is_same_double(rs_reply_double(got), expected_double(want));
    case RS_REPLY_ERROR: {
        rs_error *error = NULL;
        rs_reply_error(got, &error);
        const bool is_expected = is_expected_error(want, known(error));
        rs_error_free(error);
        return is_expected;
    }
    case RS_REPLY_ARRAY:
    case RS_REPLY_MAP:
    case RS_REPLY_SET: {
        const cJSON *element, *elements = cJSON_IsArray(want) ? want : want->child;
        if (rs_reply_len(got) != (size_t)cJSON_GetArraySize(elements)) return false;
        cJSON_ArrayForEach(element, elements) if (!is_expected(element, rs_reply_element(got, i++))) return false;
        return true;
    }
    case RS_REPLY_VERBATIM: CHECK(field(want, "format") != NULL);
        return strcmp(rs_reply_verbatim_format(got), text_field(want, "format", "")) == 0 &&
               is_expected_text(want, bytes, len);
    default: return is_expected_text(want, bytes, len);
    }
}

static bool came_to(const cJSON *want, const outcome *out) {
    if (want != NULL && expected_type(want) == RS_REPLY_ERROR) {
        const cJSON *arrived = field(want, "arrived");
        return out->error != NULL && (arrived != NULL ? is_expected(arrived, out->reply) : out->reply == NULL) &&
               is_expected_error(want, known(out->error));
    }
    if (out->error != NULL) return false;
    if (want == NULL) return true;
    return out->value != NULL ? cJSON_Compare(want, out->value, true) : is_expected(want, out->reply);
}

static void outcome_free(outcome out) {
    rs_reply_free(out.reply);
    rs_error_free(out.error);
    cJSON_Delete(out.value);
}

static outcome run_step(const cJSON *step) {
    const char *on = text_field(step, "on", "client"), *start = text_field(step, "start", NULL);
    const int timeout = number_field(step, "timeoutMs");
    outcome out = {0};
    way way = {.client = strcmp(on, "client") == 0 ? client : strcmp(on, "other") == 0 ? other : NULL};
    rs_client *view = NULL;
    if (way.client == NULL) FAIL("no such client: %s", on);
    if (timeout > 0)
        CHECK_OK(rs_client_with(way.client, RS_CALL_OPTIONS(.timeout_ms = (uint64_t)timeout), &view, &err));
    way.other_deadline = view;
    if (start != NULL) {
        CHECK(call_count < STARTED_MAX);
        calls[call_count] = (started){.name = start, .client = way.client};
        way.queue = queue;
        way.tag = call_count++;
    }
    const rs_status status = does(text_field(step, "do", ""), step, way, &out);
    CHECK_INT(status, rs_error_status(out.error));
    if (start != NULL && status != RS_OK) { /* it was not accepted: there is no completion */
        calls[way.tag].outcome = out;
        calls[way.tag].has_ended = true;
    }
    rs_client_free(view);
    return out;
}

static void check_step(const cJSON *scenario, int number, const cJSON *step) {
    int left_ms = strcmp(text_field(step, "do", ""), "until") == 0 ? 60000 : 0;
    for (;;) {
        outcome out = run_step(step);
        if (field(step, "start") != NULL) return;
        const bool is_good = came_to(field(step, "expect"), &out);
        if (!is_good && left_ms-- == 0)
            step_failed(scenario, number, step, out.reply, rs_status_name(rs_error_status(out.error)),
                        rs_error_message(out.error));
        outcome_free(out);
        if (is_good) return;
        pause_ms(1);
    }
}

static void run(const cJSON *scenario) {
    const cJSON *count = field(scenario, "servers"), *step;
    const bool is_cluster = cJSON_IsString(count);
    int number = 0;
    fprintf(stderr, "%s\n", text_field(scenario, "name", NULL));
    call_count = 0;
    if (is_cluster) {
        CHECK_TEXT(count->valuestring, "cluster");
        cluster three = cluster_start();
        server_count = CLUSTER_NODES;
        memcpy(servers, three.nodes, sizeof servers);
        client = open_client(three.url);
    } else {
        server_count = count != NULL ? count->valueint : 1;
        CHECK(server_count == 1 || server_count == 2);
        for (int i = 0; i < server_count; i++) servers[i] = server_start();
        client = open_client(server_url(servers[0]));
        if (server_count == 2) other = open_client(server_url(servers[1]));
    }
    for (int i = 0; i < server_count; i++) bystanders[i] = open_client(server_url(servers[i]));
    CHECK_OK(rs_queue_new(STARTED_MAX, 0, &queue, &err));

    cJSON_ArrayForEach(step, field(scenario, "steps")) check_step(scenario, ++number, step);

    for (size_t i = 0; i < call_count; i++)
        if (!calls[i].is_taken) FAIL("this call is never awaited: %s", calls[i].name);
    CHECK_INT(rs_queue_len(queue), 0);
    rs_queue_free(queue);
    rs_client_free(client);
    rs_client_free(other);
    other = NULL;
    for (int i = 0; i < server_count; i++) {
        rs_client_free(bystanders[i]);
        if (servers[i] != NULL) server_stop(servers[i]);
    }
}

int main(void) {
    cJSON *all = scenarios_read();
    const cJSON *scenario;
    scripts = field(all, "scripts");
    libraries = field(all, "libraries");
    cJSON_ArrayForEach(scenario, field(all, "scenarios")) run(scenario);
    cJSON_Delete(all);
}
