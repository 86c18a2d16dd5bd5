/* Reads tests/scenarios.json, and says what its values stand for. */
#include "scenario.h"

#include <math.h>

#include "check.h"

/* The fields that there may be, each list ended by NULL. */
static const char *const scenario_fields[] = {"name", "servers", "steps", NULL};
static const char *const step_fields[] = {
    "do", "on", "start", "expect", "timeoutMs", "script", "keys", "args", "readOnly", "words", "items", "scripts",
    "url", "call", "event", "server", "repairUnordered", "trustCache", "idempotent", "once", "asFunction", "token",
    "library", "named", "function", "libraries", NULL};
static const char *const item_fields[] = {"command", "script",     "keys",  "args",    "readOnly", "idempotent",
                                          "once",    "asFunction", "token", "library", "named",    "function", NULL};
static const char *const error_fields[] = {"error",  "serverCode", "message", "executed",
                                           "reason", "index",      "arrived", NULL};

static void check_fields(const cJSON *object, const char *const *known) {
    const cJSON *member;
    CHECK(cJSON_IsObject(object));
    cJSON_ArrayForEach(member, object) {
        const char *const *name = known;
        while (*name != NULL && strcmp(*name, member->string) != 0) name++;
        if (*name == NULL)
            FAIL("tests/scenarios.json: a field that is not known: %s: %s", member->string,
                 cJSON_PrintUnformatted(object));
    }
}

cJSON *scenarios_read(void) {
    FILE *file = fopen(SCENARIOS, "rb");
    char *text = NULL;
    size_t len = 0;
    if (file == NULL || getdelim(&text, &len, '\0', file) < 0) FAIL("%s cannot be read", SCENARIOS);
    fclose(file);
    if (strstr(text, "\\u0000") != NULL) FAIL("cJSON ends a text at \\u0000: write it as {\"hex\": ...}");
    cJSON *all = cJSON_Parse(text);
    if (all == NULL) FAIL("%s is no JSON, at: %.60s", SCENARIOS, cJSON_GetErrorPtr());
    free(text);
    const cJSON *scenario, *step, *item, *scenarios = field(all, "scenarios");
    if (cJSON_GetArraySize(scenarios) == 0) FAIL("%s has no scenarios", SCENARIOS);
    cJSON_ArrayForEach(scenario, scenarios) {
        check_fields(scenario, scenario_fields);
        if (cJSON_GetArraySize(field(scenario, "steps")) == 0)
            FAIL("a scenario without steps: %s", text_field(scenario, "name", "?"));
        cJSON_ArrayForEach(step, field(scenario, "steps")) {
            check_fields(step, step_fields);
            cJSON_ArrayForEach(item, field(step, "items")) check_fields(item, item_fields);
        }
    }
    return all;
}

const cJSON *field(const cJSON *object, const char *name) { return cJSON_GetObjectItemCaseSensitive(object, name); }

const char *text_field(const cJSON *object, const char *name, const char *otherwise) {
    const cJSON *value = field(object, name);
    if (value == NULL) return otherwise;
    if (!cJSON_IsString(value)) FAIL("%s is no text: %s", name, cJSON_PrintUnformatted(object));
    return value->valuestring;
}

int number_field(const cJSON *object, const char *name) {
    const cJSON *value = field(object, name);
    if (value == NULL) return 0;
    if (!cJSON_IsNumber(value)) FAIL("%s is no number: %s", name, cJSON_PrintUnformatted(object));
    return value->valueint;
}

bool has_flag(const cJSON *object, const char *name) {
    const cJSON *value = field(object, name);
    CHECK(value == NULL || cJSON_IsBool(value));
    return cJSON_IsTrue(value);
}

/* The kinds of expected values that are objects, by the field that tells them. */
static const struct {
    const char *name;
    int32_t type;
} kinds[] = {{"hex", RS_REPLY_STRING},           {"repeat", RS_REPLY_STRING}, {"status", RS_REPLY_STATUS},
             {"integer", RS_REPLY_INTEGER},      {"double", RS_REPLY_DOUBLE}, {"map", RS_REPLY_MAP},
             {"verbatim", RS_REPLY_VERBATIM},    {"set", RS_REPLY_SET},       {"bigNumber", RS_REPLY_BIG_NUMBER},
             {"error", RS_REPLY_ERROR},          {"contains", EXPECT_PART}};

int32_t expected_type(const cJSON *value) {
    if (cJSON_IsNull(value)) return RS_REPLY_NIL;
    if (cJSON_IsBool(value)) return RS_REPLY_BOOLEAN;
    if (cJSON_IsNumber(value)) return RS_REPLY_INTEGER;
    if (cJSON_IsString(value)) return RS_REPLY_STRING;
    if (cJSON_IsArray(value)) return RS_REPLY_ARRAY;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (field(value, kinds[i].name) != NULL) return kinds[i].type;
    FAIL("an expected value of a kind that is not known: %s", cJSON_PrintUnformatted(value));
}

char *bytes_of(const cJSON *value, size_t *len) {
    const char *hex = text_field(value, "hex", NULL), *part = text_field(value, "repeat", NULL);
    const size_t times = part != NULL ? (size_t)number_field(value, "times") : 1;
    if (hex == NULL && part == NULL) part = cJSON_IsString(value) ? value->valuestring : NULL;
    for (size_t i = 0; hex == NULL && part == NULL && i < sizeof kinds / sizeof *kinds; i++)
        part = text_field(value, kinds[i].name, NULL);
    if (hex == NULL && part == NULL) FAIL("this has no bytes: %s", cJSON_PrintUnformatted(value));
    const size_t each = strlen(hex != NULL ? hex : part);
    *len = hex != NULL ? each / 2 : each * times;
    char *bytes = malloc(*len + 1);
    CHECK(bytes != NULL);
    for (size_t i = 0; hex == NULL && i < times; i++) memcpy(bytes + i * each, part, each);
    for (size_t i = 0; hex != NULL && i < *len; i++)
        CHECK_INT(sscanf(hex + 2 * i, "%2hhx", (unsigned char *)bytes + i), 1);
    return bytes;
}

int64_t expected_integer(const cJSON *value) {
    const char *digits = text_field(value, "integer", NULL);
    return digits != NULL ? strtoll(digits, NULL, 10) : (int64_t)value->valuedouble;
}

double expected_double(const cJSON *value) { return strtod(text_field(value, "double", ""), NULL); }

bool is_same_double(double a, double b) { return a == b || (isnan(a) && isnan(b)); }

bool is_expected_text(const cJSON *value, const char *got, size_t len) {
    size_t want_len;
    char *want = bytes_of(value, &want_len);
    bool found = false;
    if (expected_type(value) == EXPECT_PART)
        for (size_t at = 0; !found && at + want_len <= len; at++) found = memcmp(got + at, want, want_len) == 0;
    else
        found = want_len == len && memcmp(got, want, len) == 0;
    free(want);
    return found;
}

bool is_expected_error(const cJSON *value, known_error got) {
    const char *executed = got.indeterminate ? "unknown" : got.not_executed ? "no" : "yes";
    check_fields(value, error_fields);
    return !(got.indeterminate && got.not_executed) && strcmp(text_field(value, "error", ""), got.status) == 0 &&
           strcmp(text_field(value, "serverCode", got.server_code), got.server_code) == 0 &&
           strstr(got.message, text_field(value, "message", "")) != NULL &&
           strcmp(text_field(value, "executed", executed), executed) == 0 &&
           strcmp(text_field(value, "reason", got.reason), got.reason) == 0 &&
           (field(value, "index") == NULL || number_field(value, "index") == got.index);
}

static void show(const rs_reply *reply) {
    const size_t len = rs_reply_len(reply);
    rs_error *error = NULL;
    if (rs_reply_error(reply, &error) != RS_OK) {
        fprintf(stderr, "%s %s%s: ", rs_status_name(rs_error_status(error)),
                rs_error_is_indeterminate(error) ? "(unknown)" : "",
                rs_error_is_not_executed(error) ? "(not executed)" : "");
        rs_error_free(error);
    }
    if (rs_reply_string(reply, NULL) != NULL)
        fprintf(stderr, "%zu bytes \"%.200s\"", len, rs_reply_string(reply, NULL));
    else if (rs_reply_element(reply, 0) == NULL)
        fprintf(stderr, "%" PRId64, rs_reply_integer(reply));
    for (size_t i = 0; rs_reply_element(reply, i) != NULL; i++) {
        fputs(i == 0 ? "[" : ", ", stderr);
        show(rs_reply_element(reply, i));
        if (i + 1 == len) fputc(']', stderr);
    }
    fprintf(stderr, " (type %" PRId32 ")", rs_reply_type(reply));
}

void step_failed(const cJSON *scenario, int number, const cJSON *step, const rs_reply *reply, const char *status,
                 const char *message) {
    fprintf(stderr, "scenario \"%s\", step %d:\n  %s\n  came to: %s %s; ", text_field(scenario, "name", ""), number,
            cJSON_PrintUnformatted(step), status, message);
    show(reply);
    fputc('\n', stderr);
    exit(1);
}
