%% @private Where a reader begins and ends in each partition: the forms in which
%% that can be said, the questions to the brokers that follow from them, and what
%% the answers come to.
-module(crema_reader_bounds).

-export([check/2, describe/1, topics/1, places/2, questions/2, settle/3]).

-export_type([place/0, positions/0, bound/0]).

-type place() :: {Topic :: binary(), Partition :: non_neg_integer()}.
%% The next offset to read of each partition.
-type positions() :: #{place() => non_neg_integer()}.
-type bound() :: {place(), From :: non_neg_integer(), To :: non_neg_integer() | infinity}.

-type what() :: partitions | from | to.
%% What brokers are asked: where partitions begin, end, or are at a time.
-type question() :: {beginning | 'end' | timestamp, Number :: non_neg_integer()}.
-type offsets() :: #{question() => #{place() => integer()}}.

-define(LOW, {beginning, 0}).
-define(HIGH, {'end', 0}).
-define(IS_NUMBER(N), (is_integer(N) andalso N >= 0 andalso N < 1 bsl 62)).

%% ---- options -----------------------------------------------------------------

%% @doc Checks one of the options, and brings it into one form: topics are
%% binaries, times are milliseconds.
-spec check(what(), term()) -> {ok, term()} | error.
check(partitions, Absent) when Absent =:= undefined; Absent =:= nil ->
    {ok, undefined};
check(partitions, [_ | _] = Given) ->
    Read = [key(Key) || crema_input:is_proper(Given), Key <- Given],
    case Read =/= [] andalso not lists:member(error, Read) of
        true -> {ok, lists:uniq(Read)};
        false -> error
    end;
check(partitions, _) ->
    error;
check(What, #{} = Given) ->
    Read = [{key(Key), at(What, At)} || {Key, At} <- maps:to_list(Given)],
    case [Pair || {Key, At} = Pair <- Read, Key =:= error orelse At =:= error] of
        [] -> {ok, maps:from_list([{Key, At} || {Key, {ok, At}} <- Read])};
        _ -> error
    end;
check(What, Given) ->
    at(What, Given).

-spec key(term()) -> non_neg_integer() | place() | error.
key(Partition) when is_integer(Partition), Partition >= 0, Partition < 1 bsl 31 ->
    Partition;
key({Topic, Partition}) ->
    case {crema_input:text(Topic), key(Partition)} of
        {{ok, Text}, Number} when Text =/= <<>>, is_integer(Number) -> {Text, Number};
        _ -> error
    end;
key(_) ->
    error.

-spec at(from | to, term()) -> {ok, term()} | error.
at(from, At) when At =:= earliest; At =:= latest -> {ok, At};
at(from, {last, Count} = At) when ?IS_NUMBER(Count) -> {ok, At};
at(to, At) when At =:= 'end'; At =:= infinity -> {ok, At};
at(_, Offset) when ?IS_NUMBER(Offset) -> {ok, Offset};
at(_, {timestamp, Time} = At) when ?IS_NUMBER(Time) -> {ok, At};
%% Elixir's module is there when its structs are.
at(What, {timestamp, #{'__struct__' := 'Elixir.DateTime' = Module} = Time}) ->
    at(What, {timestamp, Module:to_unix(Time, millisecond)});
at(_, _) -> error.

-spec describe(what()) -> binary().
describe(partitions) ->
    <<"a list of numbers of partitions, or of {Topic, Partition}">>;
describe(from) ->
    <<"earliest, latest, an offset, {timestamp, Ms}, {last, Count}, or a map from partitions, or "
        "{Topic, Partition}, to these">>;
describe(to) ->
    <<"end, infinity, an offset, {timestamp, Ms}, or a map from partitions, or {Topic, Partition}, "
        "to these">>.

%% ---- what is read --------------------------------------------------------------

%% @doc The topics whose partitions must be known.
-spec topics(map()) -> [binary()].
topics(#{partitions := undefined, topic := Topic}) -> [Topic];
topics(#{partitions := Given} = Options) -> lists:uniq([T || {T, _} <- named(Given, Options)]).

-spec named([non_neg_integer() | place()], map()) -> [place()].
named(Keys, #{topic := Topic}) ->
    lists:uniq([
        case Key of
            {_, _} -> Key;
            _ -> {Topic, Key}
        end
     || Key <- Keys
    ]).

%% @doc The partitions to read, when it is known how many each topic has.
-spec places(map(), #{binary() => pos_integer()}) -> {ok, [place()]} | crema_error:error().
places(#{partitions := undefined}, Counts) ->
    {ok, [{Topic, P} || {Topic, Count} <- maps:to_list(Counts), P <- lists:seq(0, Count - 1)]};
places(#{partitions := Given} = Options, Counts) ->
    Places = named(Given, Options),
    case [Place || {Topic, P} = Place <- Places, P >= map_get(Topic, Counts)] of
        [] ->
            {ok, Places};
        [{Topic, P} | _] ->
            Text = io_lib:format("~ts has ~b partitions, and no number ~b", [
                Topic, map_get(Topic, Counts), P
            ]),
            crema_error:make(unknown_partition, Text, #{topic => Topic, partition => P})
    end.

%% Those that a map leaves out are read whole: nothing of a partition that came to
%% be since the map was made is missed.
-spec at_place(from | to, place(), map()) -> term().
at_place(What, {_, Partition} = Place, Options) ->
    case map_get(What, Options) of
        #{Place := At} -> At;
        #{Partition := At} -> At;
        #{} when What =:= from -> earliest;
        #{} -> 'end';
        At -> At
    end.

%% @doc What to ask of the brokers, and of which partitions.
-spec questions([place()], map()) -> [{question(), [place(), ...]}].
questions(Places, Options) ->
    Times = [
        {At, Place}
     || What <- [from, to], Place <- Places, {timestamp, _} = At <- [at_place(What, Place, Options)]
    ],
    [{?LOW, Places}, {?HIGH, Places}] ++
        [
            {At, lists:uniq([Place || {Asked, Place} <- Times, Asked =:= At])}
         || At <- lists:uniq([At || {At, _} <- Times])
        ].

%% @doc Where each partition begins and ends, of the brokers' answers. `to' `end'
%% is where the partition ended when it was asked.
-spec settle([place()], offsets(), map()) -> {ok, [bound()]} | crema_error:error().
settle(Places, Offsets, Options) ->
    Bounds = [
        {Place, from(Place, Offsets, Options), to(Place, Offsets, Options)}
     || Place <- Places
    ],
    case [Bound || {Place, From, _} = Bound <- Bounds, not is_there(Place, From, Offsets, Options)] of
        [] -> {ok, Bounds};
        [{Place, From, _} | _] -> out_of_range(Place, From, Offsets)
    end.

-spec from(place(), offsets(), map()) -> non_neg_integer().
from(Place, Offsets, Options) ->
    case at_place(from, Place, Options) of
        earliest -> asked(?LOW, Place, Offsets);
        latest -> asked(?HIGH, Place, Offsets);
        {last, Count} -> max(asked(?LOW, Place, Offsets), asked(?HIGH, Place, Offsets) - Count);
        {timestamp, _} = Time -> asked(Time, Place, Offsets);
        Offset -> Offset
    end.

-spec to(place(), offsets(), map()) -> non_neg_integer() | infinity.
to(Place, Offsets, Options) ->
    case at_place(to, Place, Options) of
        'end' -> asked(?HIGH, Place, Offsets);
        {timestamp, _} = Time -> asked(Time, Place, Offsets);
        OffsetOrInfinity -> OffsetOrInfinity
    end.

-spec asked(question(), place(), offsets()) -> non_neg_integer().
asked(Question, Place, Offsets) ->
    #{Question := #{Place := Offset}} = Offsets,
    Offset.

%% Offsets that brokers have told are.
-spec is_there(place(), non_neg_integer(), offsets(), map()) -> boolean().
is_there(Place, From, Offsets, Options) ->
    From =/= at_place(from, Place, Options) orelse
        (From >= asked(?LOW, Place, Offsets) andalso From =< asked(?HIGH, Place, Offsets)).

-spec out_of_range(place(), non_neg_integer(), offsets()) -> crema_error:error().
out_of_range({Topic, Partition} = Place, From, Offsets) ->
    {Low, High} = {asked(?LOW, Place, Offsets), asked(?HIGH, Place, Offsets)},
    Text = io_lib:format("~ts [~b]: offset ~b is not in the log, which begins at ~b and ends at ~b", [
        Topic, Partition, From, Low, High
    ]),
    crema_error:make(offset_out_of_range, Text, #{
        topic => Topic, partition => Partition, offset => From, low => Low, high => High
    }).
