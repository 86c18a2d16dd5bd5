// One program of files in two standards: this is compiled twice, with and without MIXED_FIRST, and rs::Result is
// another type in each.
#include <rs_script.hpp>

#include "support/check.h"
#include "support/server.h"

// In the other file.
int later(const rs::Client &client);

#ifdef MIXED_FIRST
int main() {
    server *redis = server_start();
    const rs::Client client(server_url(redis));
    const rs::Result<rs::Reply> failed = client.try_command({"INCR"});
    CHECK(!failed && failed.error().status() == RS_ERR_SERVER);
    CHECK_INT(client.try_command({"ECHO", 5}).value().as<int>(), 5);
    CHECK_INT(later(client), 7);
}
#else
int later(const rs::Client &client) {
    const rs::Result<rs::Reply> failed = client.try_command({"INCR"});
    CHECK(!failed && failed.error().status() == RS_ERR_SERVER);
    return client.try_command({"ECHO", 7}).value().as<int>();
}
#endif
