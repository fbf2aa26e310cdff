-- The arithmetic by its letter: s, f, b, i. Each knows how to read a key's state, to take from
-- it, to write it, and to give back; the numbers are those of the file in policies/ it names.
local policies = {}
