// The stand-in for servers, for import.

import testing from "./testing.js";

export const {
    FakeServer,
    status,
    serverError,
    noScript,
    lostReply,
    deadline,
    noConnection,
    transactionAborted,
} = testing;
