// rs_script_async: calls that nobody waits for, ended by a function, a std::future or, from C++20 on, a coroutine.
//
// EXAMPLE   Two calls at once.
//
//     rs::Dispatcher dispatcher(1000);
//     std::future<rs::Reply> first = dispatcher.call(multiply, {"foo"}, {5});
//     dispatcher.call(multiply, {"bar"}, {5}, [](rs::Result<rs::Reply> reply) { ... });
//     dispatcher.run();
//     std::cout << first.get().integer() << '\n';
//
// In a coroutine of whatever type. (GCC up to 12 refuses lists in braces behind co_await: rs::list, or two lines.)
//
//     rs::Reply product = co_await dispatcher.awaited(multiply, rs::list("foo"), rs::list(5));
//
// WHO CALLS Functions and coroutines go on inside run_once and run, on the thread that calls these; with
//           Dispatcher::Driver::own_thread on that one. A future may be waited for on any other thread meanwhile. To
//           go on elsewhere, end the call in a function that posts there.
// DEADLINES Each call has its client's, or the timeout in its CallOptions; it ends by then, whoever waits.
// CANCEL    Dispatcher::cancel ends a call at once. A coroutine that waits is not cancelled by being destroyed: its
//           call goes on without it.
// THROWING  What a function throws leaves run_once or run, after all completions that were taken out have been handed
//           over; if several throw, the first. On the Dispatcher's own thread there is nobody to catch it: it ends the
//           program (std::terminate). What a coroutine throws is its promise's.
// ENDING    Every call that was accepted ends once. Run a Dispatcher until it is empty, and everything has. When it
//           goes sooner, calls that have not ended are let go of: functions are not called; futures and coroutines get
//           an Error, RS_ERR_INDETERMINATE, or the reply if it has come. The coroutines are resumed by the destructor,
//           on its thread, and what they submit then is refused (RS_ERR_CLOSED). Nothing else may use the Dispatcher
//           by then.
// THREADS   Any number of threads may submit and run.
// FORK      A child makes a Dispatcher of its own. Its parent's accepts nothing there (RS_ERR_FORKED) and may go.

#ifndef RS_SCRIPT_ASYNC_HPP
#define RS_SCRIPT_ASYNC_HPP

#include <rs_script.hpp>

#include <rs_script/coroutine.hpp>
#include <rs_script/dispatcher.hpp>

#endif // RS_SCRIPT_ASYNC_HPP
