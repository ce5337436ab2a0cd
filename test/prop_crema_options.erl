%% Properties of the parsing of options: nothing a program can pass makes it
%% crash, lose a fault or show a secret.
-module(prop_crema_options).

-include_lib("proper/include/proper.hrl").

-export([handle_message/2]).

-define(SECRET, <<"hunter2-planted">>).

%% This module stands for a consumer's handler.
handle_message(_Message, State) -> {ack, State}.

prop_garbage_never_crashes() ->
    %% Any term at all is answered with ok or bad_options, and the message is text.
    ?FORALL({Scope, Options}, {scope(), options()}, begin
        case crema_options:parse(Scope, Options) of
            {ok, Parsed} ->
                is_map(Parsed);
            {error, {bad_options, #{message := Message, faults := [_ | _] = Faults}}} ->
                unicode:characters_to_binary(Message) =:= Message andalso
                    lists:all(fun is_fault/1, Faults)
        end
    end).

prop_every_unknown_key_is_named() ->
    %% Each key that is no option of the scope has a fault of its own.
    ?FORALL({Scope, Pairs}, {scope(), list({key(), value()})}, begin
        Unknown = [Key || {Key, _} <- Pairs, not lists:member(Key, [warnings | names(Scope)])],
        Faulty = faulty(crema_options:parse(Scope, Pairs)),
        %% A list and the map of its pairs mean the same.
        Same = faulty(crema_options:parse(Scope, first_wins(Pairs))),
        lists:all(fun(Key) -> lists:member(Key, Faulty) end, Unknown) andalso
            lists:sort(Faulty) =:= lists:sort(Same)
    end).

prop_every_wrong_value_is_named() ->
    %% Each option with a value its type refuses has a fault, all others have none.
    ?FORALL({Scope, Pairs}, {scope(), list({elements(all_names()), value()})}, begin
        Given = first_wins(Pairs),
        Wrong = [
            Name
         || #{name := Name, type := Type} <- rows(Scope),
            Type =/= properties,
            Type =/= topic_config,
            is_map_key(Name, Given),
            element(1, crema_option_type:check(Type, maps:get(Name, Given))) =:= error
        ],
        Wrong -- faulty(crema_options:parse(Scope, Given)) =:= []
    end).

prop_valid_options_are_accepted() ->
    %% Right values are accepted in any combination, come back as given, and what
    %% comes back may be parsed again.
    ?FORALL(Options, valid_producer(), begin
        {ok, Parsed} = crema_options:parse(producer, Options),
        Integers = maps:filter(fun(_, Value) -> is_integer(Value) end, Options),
        maps:with(maps:keys(Integers), Parsed) =:= Integers andalso
            crema_options:parse(producer, Parsed) =:= {ok, Parsed} andalso
            lists:all(fun is_property/1, crema_properties:kafka_properties(producer, Parsed))
    end).

prop_properties_pass_verbatim() ->
    %% A property that crema does not own reaches the list with the value given.
    ?FORALL({Key, Value}, {free_key(), utf8()}, begin
        Options = #{
            bootstrap_servers => <<"h">>,
            group => <<"g">>,
            topics => [<<"t">>],
            handler => ?MODULE,
            kafka => #{Key => Value}
        },
        case {binary:match(Value, <<0>>), crema_options:parse(consumer, Options)} of
            {nomatch, {ok, Parsed}} ->
                List = crema_properties:kafka_properties(consumer, Parsed),
                lists:member({Key, Value}, List);
            {{_, _}, {error, {bad_options, #{faults := [#{option := {kafka, Key}}]}}}} ->
                true;
            _ ->
                false
        end
    end).

prop_secrets_never_show() ->
    %% A secret under a secret's key shows nowhere, whatever stands around it.
    ?FORALL({Scope, Options, Key}, {scope(), list({key(), value()}), secret_key()}, begin
        Planted = [{kafka, [{Key, ?SECRET} | Options]}, {Key, ?SECRET} | Options],
        Result = crema_options:parse(Scope, Planted),
        Shown = [io_lib:format(Form, [Result]) || Form <- ["~0p", "~0tp"]],
        nomatch =:= string:find(Shown, ?SECRET)
    end).

prop_redact_never_crashes() ->
    %% Any term can be redacted, and redacting twice changes nothing more.
    ?FORALL(Term, value(), begin
        Once = crema_secret:redact(Term),
        Once =:= crema_secret:redact(Once) andalso is_binary(crema_input:show(Term))
    end).

prop_suggestions_are_names() ->
    %% A suggestion is one of the names, and a name itself is its own.
    ?FORALL({Text, Names}, {binary(), non_empty(list(word()))}, begin
        Own = hd(Names),
        Nearest = crema_suggest:nearest(Text, Names),
        (Nearest =:= none orelse lists:member(element(2, Nearest), Names)) andalso
            crema_suggest:nearest(Own, Names) =:= {ok, Own}
    end).

%% --- generators

%% Any term, but for atoms from a fixed set: PropEr's any() makes new ones until
%% the table of the node is full. Small: what a value holds matters here, not how much.
garbage() -> ?SIZED(Size, small(min(Size, 12))).

small(Size) -> resize(Size, garbage(Size)).

garbage(0) ->
    oneof([
        integer(), float(), binary(), bitstring(), utf8(), self(), make_ref(), fun() -> x end,
        fun(_) -> x end,
        elements(['', a, 'two words', true, nil, undefined, 'žluť', lists, kafka])
    ]);
garbage(Size) ->
    %% Smaller parts of a smaller number, or a term would grow without end.
    Less = Size div 4,
    Part = ?LAZY(small(Less)),
    frequency([
        {3, garbage(0)},
        {1, resize(Less, list(Part))},
        {1, resize(Less, loose_tuple(Part))},
        {1, resize(Less, as_map(list({Part, Part})))},
        {1, [Part | Part]},
        {1, list(choose(0, 300))}
    ]).

scope() -> elements([producer, consumer, reader, cluster, variant, pool]).

options() ->
    oneof([garbage(), list({key(), value()}), as_map(list({key(), value()})), list(garbage())]).

as_map(Pairs) -> ?LET(List, Pairs, maps:from_list(List)).

key() ->
    frequency([
        {6, elements(all_names())},
        {3, misspelt()},
        {1, elements(['linger.ms', "group", <<"topics">>, warnings, 'sasl.password'])},
        {2, garbage()}
    ]).

misspelt() ->
    ?LET({Name, At, Char}, {elements(all_names()), nat(), choose($a, $z)}, begin
        Text = atom_to_list(Name),
        {Before, After} = lists:split(At rem (length(Text) + 1), Text),
        list_to_atom(Before ++ [Char] ++ After)
    end).

value() ->
    frequency([
        {4, garbage()},
        {2, oneof([nat(), binary(), utf8(), true, nil, undefined, <<>>, "text", [<<"a">> | b]])},
        {2, list({property_key(), garbage()})},
        {1, as_map(list({secret_key(), binary()}))},
        {1, elements([{1, 2}, {local, a}, <<"h:1">>, ["a", <<"b:2">>], ?MODULE, {?MODULE, x}])}
    ]).

property_key() -> oneof([misspelt(), free_key(), secret_key(), 'group.id', garbage()]).

secret_key() ->
    elements(['sasl.password', "ssl.key.pem", <<"sasl.oauthbearer.client.secret">>, my_token]).

free_key() ->
    elements([<<"linger.ms.x">>, <<"client.rack">>, <<"fetch.min.bytes">>, <<"debug">>]).

word() -> ?LET(Chars, non_empty(list(choose($a, $f))), list_to_binary(lists:sublist(Chars, 40))).

valid_producer() ->
    ?LET(
        Rest,
        list(
            oneof([
                {ordering, elements([strict, loose])},
                {on_full, elements([wait, error])},
                {max_queue_messages, range(1, 2147483647)},
                {max_queue_bytes, range(1, 1000000000)},
                {full_timeout, range(0, 100000)},
                {request_timeout, range(1, 1000000)},
                {flush_timeout, nat()},
                {max_unclaimed, range(1, 1000)},
                {connect, elements([start, use])},
                {idle_disconnect, oneof([0, range(30000, 100000)])},
                {on_fatal, elements([stop, reload])},
                {reload_attempts, nat()},
                {reload_backoff, ?LET({A, B}, {range(1, 9), range(9, 99)}, {A, B})},
                {never_reload, list(elements([fenced, unknown_producer_id]))},
                {on_reload, elements([undefined, nil, fun(_) -> keep end, {lists, map, []}])},
                {name, oneof([undefined, nil, some_name, {global, garbage()}])},
                {kafka, [{'client.id', utf8_text()}, {"linger.ms", nat()}, {secret_key(), "pw"}]}
            ])
        ),
        (maps:from_list(Rest))#{bootstrap_servers => [<<"a:1">>, "b"]}
    ).

utf8_text() -> ?SUCHTHAT(Text, utf8(), binary:match(Text, <<0>>) =:= nomatch).

%% --- helpers

rows(Scope) ->
    [Row || #{scope := Scopes} = Row <- crema_options:table(), lists:member(Scope, Scopes)].

names(Scope) -> [Name || #{name := Name} <- rows(Scope)].

all_names() -> lists:usort([Name || #{name := Name} <- crema_options:table()]).

first_wins(Pairs) -> maps:from_list(lists:reverse(Pairs)).

faulty({ok, _}) -> [];
faulty({error, {bad_options, #{faults := Faults}}}) -> [Option || #{option := Option} <- Faults].

is_fault(#{option := _, reason := Reason} = Fault) ->
    is_binary(Reason) andalso maps:keys(maps:without([option, reason, value], Fault)) =:= [].

is_property({Key, Value}) ->
    is_binary(Key) andalso (is_binary(Value) orelse is_function(Value, 0)).
