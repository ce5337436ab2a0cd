%% @private The fields of events: their types, and whether values are of them.
-module(crema_event_field).

-export([faults/3, describe/1]).

-type field() :: crema_event_table:field().
-type type() :: crema_event_table:type().

%% @doc What is wrong with the values of an event's fields.
-spec faults(string(), [field()], map()) -> [binary()].
faults(Kind, Fields, Values) ->
    Unknown = maps:keys(maps:without([Name || {Name, _, _} <- Fields], Values)),
    [phrase("~s ~0tp is not in the table", [Kind, Key]) || Key <- Unknown] ++
        [
            phrase("~s ~0tp must be ~ts", [Kind, Name, describe(Type)])
         || {Name, Type, _} <- Fields, not fits(Type, maps:find(Name, Values))
        ].

-spec fits(type(), {ok, term()} | error) -> boolean().
fits({optional, _}, error) -> true;
fits(_, error) -> false;
fits({optional, Type}, Found) -> fits(Type, Found);
fits({integer, _}, {ok, Value}) -> is_integer(Value);
fits(integer, {ok, Value}) -> is_integer(Value);
fits(binary, {ok, Value}) -> is_binary(Value);
fits(atom, {ok, Value}) -> is_atom(Value);
fits(pid, {ok, Value}) -> is_pid(Value);
fits(list, {ok, Value}) -> is_list(Value);
fits(map, {ok, Value}) -> is_map(Value);
fits({one_of, Atoms}, {ok, Value}) -> lists:member(Value, Atoms);
fits(term, {ok, _}) -> true.

-spec phrase(string(), [term()]) -> binary().
phrase(Format, Args) ->
    unicode:characters_to_binary(io_lib:format(Format, Args)).

%% @doc A type, for tables and messages.
-spec describe(type()) -> binary().
describe({optional, Type}) -> <<(describe(Type))/binary, ", or absent">>;
describe({integer, Unit}) -> <<"integer (", (atom_to_binary(Unit))/binary, ")">>;
describe({one_of, Atoms}) ->
    iolist_to_binary(lists:join(" or ", lists:map(fun atom_to_binary/1, Atoms)));
describe(Type) -> atom_to_binary(Type).
