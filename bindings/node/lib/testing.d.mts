// The types of the stand-in for servers, for import.

export * from "./testing.js";
