/* Every exported function, called on one set of handles. A check compares everything.c with the header, so an export
   that is missing there is found. */
#ifndef EVERYTHING_H
#define EVERYTHING_H

#include <rs_script.h>

typedef struct {
    const char *url; /* of a server */
    rs_client *client;
    rs_script *script;     /* of `client` */
    rs_pipeline *pipeline; /* with an item */
    rs_queue *queue;       /* empty */
    rs_events *events;     /* of `client` */
    rs_reply *reply;       /* an array of arrays */
    rs_error *error;
    rs_options *options;
} everything;

/* Makes one handle of each kind. */
everything everything_of(const char *url);

/* Calls every function but those that close and free. `expected`: what those give that need a lock or the server:
   RS_OK, or RS_ERR_FORKED in a child of the process that made the handles. */
void call_everything(const everything *e, rs_status expected);

/* Closes and frees. */
void free_everything(const everything *e);

#endif
