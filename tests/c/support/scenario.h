/* tests/scenarios.json as C and C++ read it: what is in it, and what its values stand for. Whatever is not known
   there ends the program. */
#ifndef SCENARIO_H
#define SCENARIO_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include <rs_script.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The whole file, with scenarios in it and no field that is not known. Caller frees with cJSON_Delete. */
cJSON *scenarios_read(void);

/* A field of an object; NULL where it has none. */
const cJSON *field(const cJSON *object, const char *name);

/* A text among the fields, borrowed from the object; `otherwise` where there is none. */
const char *text_field(const cJSON *object, const char *name, const char *otherwise);

/* A number among the fields, 0 where there is none. */
int number_field(const cJSON *object, const char *name);

/* Whether a field is there and true. */
bool has_flag(const cJSON *object, const char *name);

/* The bytes of a key, word or script, or of an expected reply that has bytes. Caller frees with free. */
char *bytes_of(const cJSON *value, size_t *len);

/* {"contains": ...}: some text with this in it. All else that can be expected is a RS_REPLY_. */
enum { EXPECT_PART = 100 };

/* What kind of reply is expected. */
int32_t expected_type(const cJSON *value);

/* The number that is expected. */
int64_t expected_integer(const cJSON *value);
double expected_double(const cJSON *value);

/* Whether two doubles are the same; not a number is the same as itself. */
bool is_same_double(double a, double b);

/* Whether an expected text, status, big number or part of a text is what came. */
bool is_expected_text(const cJSON *value, const char *got, size_t len);

/* What is known of an error; `index` is -1 where it is about no one item. */
typedef struct known_error {
    const char *status, *server_code, *message, *reason;
    bool indeterminate, not_executed;
    int index;
} known_error;

/* Whether an error is as expected, but for what arrived before it. */
bool is_expected_error(const cJSON *value, known_error got);

/* Ends the program: names scenario and step, and shows what came instead of what was expected. */
void step_failed(const cJSON *scenario, int number, const cJSON *step, const rs_reply *reply, const char *status,
                 const char *message);

#ifdef __cplusplus
}
#endif

#endif
