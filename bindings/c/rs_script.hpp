// rs_script: Lua scripts on Redis and Valkey, from C++17 on. Over rs_script.h: nothing to link but the C library.
//
// LINK      As for C: find_package(rs_script) and rs_script::rs_script, or pkg-config rs_script.
//
// EXAMPLE   Multiplies the number at a key.
//
//     #include <rs_script.hpp>
//     #include <iostream>
//
//     int main() try {
//         rs::Client client("redis://127.0.0.1:6379");
//         rs::Script multiply(client, "return redis.call('GET', KEYS[1]) * ARGV[1]");
//         client.command({"SET", "foo", "2"});
//         std::cout << multiply.call({"foo"}, {"5"}).integer() << '\n'; // 10
//     } catch (const rs::Error &error) {
//         std::cerr << error.status_name() << ": " << error.what() << '\n';
//         return 1;
//     }
//
// OWNERSHIP Client, Script, Library, Pipeline, Queue, Reply and Options own a handle of the C library: they move, do
//           not copy, and free it when they go. One that was moved from holds nothing; calls on it fail with
//           RS_ERR_INVALID_ARGUMENT. What is handed in is copied by the library, nothing of it is kept after the call
//           returns, and these headers make no copy besides (lists of up to rs::Strings::inline_size strings and
//           numbers allocate nothing).
// ERRORS    Functions throw rs::Error. Each has a twin whose name starts with try_ that returns rs::Result instead and
//           throws nothing but std::bad_alloc. From C++23 on a Result<T> is a std::expected<T, rs::Error>; before, it
//           has the same members. The status is a number RS_ERR_ of rs_script.h. Without exceptions (-fno-exceptions)
//           use the twins: a function that would throw calls std::terminate.
// STRINGS   are std::string_view, any byte may be among them. Exceptions: URLs, user names, paths and the like end at
//           their first NUL. What goes in: see rs::Strings in rs_script/strings.hpp. What comes out: ReplyView::string
//           borrows, as<T> copies, see rs_script/convert.hpp. What is borrowed from a Reply cannot be taken of one
//           that goes at the end of the expression: name the reply first, or copy out of it with as<std::string>().
// CALLBACKS What a program hands in is called by Queue::dispatch, a Dispatcher (rs_script_async.hpp) or the library. No
//           exception passes through the C library: the first two have it leave the function that has called back.
//           The library has no such function. What Options::credentials throws is why there are none, and the error of
//           the connection; what Options::log and on_call throw ends the program (std::terminate).
// THREADS   As in C: any number of threads may call const functions of one Client, Script, Library, Queue or Reply; a
//           Pipeline belongs to one at a time. Freeing, moving and assigning exclude all else.

#ifndef RS_SCRIPT_HPP
#define RS_SCRIPT_HPP

#include <rs_script/call_options.hpp>
#include <rs_script/client.hpp>
#include <rs_script/convert.hpp>
#include <rs_script/error.hpp>
#include <rs_script/events.hpp>
#include <rs_script/library.hpp>
#include <rs_script/options.hpp>
#include <rs_script/pipeline.hpp>
#include <rs_script/queue.hpp>
#include <rs_script/reply.hpp>
#include <rs_script/script.hpp>
#include <rs_script/strings.hpp>

namespace rs {

// The version of the library that is loaded, such as `1.2.3`. Compare with RS_VERSION of the header.
inline const char *version() noexcept { return rs_version(); }

} // namespace rs

#endif // RS_SCRIPT_HPP
