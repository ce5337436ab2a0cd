%% @private What the names of topics and groups begin with where a cluster is shared,
%% as on Heroku: added to what a name does not begin with already.
-module(crema_prefix).

-export([rows/0, rules/0, check/1, describe/0, add/2, strip/2, names/1, request/2]).

-export_type([prefix/0]).

-type prefix() :: binary() | undefined.

%% @doc The rows of the table.
-spec rows() -> [crema_options:row()].
rows() ->
    [
        #{
            name => prefix,
            scope => [producer, consumer, reader],
            type => {optional, prefix},
            default => undefined,
            unit => none,
            doc => <<"what the names of topics and groups begin with; it is added to those that do "
                "not">>
        },
        #{
            name => strip_prefix,
            scope => [consumer],
            type => {one_of, [true, false]},
            default => false,
            unit => none,
            doc => <<"whether the handler is told of topics without that prefix">>
        }
    ].

-spec rules() -> [fun((map()) -> [crema_option_rules:finding()])].
rules() ->
    [fun whole_names/1].

%% Offsets are sent by the names that brokers know.
-spec whole_names(map()) -> [crema_option_rules:finding()].
whole_names(#{strip_prefix := true, commit := transaction}) ->
    [{fault, strip_prefix, "must be false while commit is transaction: offsets are sent with the "
        "topics' whole names"}];
whole_names(_) ->
    [].

%% @doc The option `prefix' in one form.
-spec check(term()) -> {ok, binary()} | error.
check(Given) ->
    case crema_input:text(Given) of
        {ok, Prefix} ->
            case re:run(Prefix, "^[a-zA-Z0-9._-]{1,200}$", [dollar_endonly, {capture, none}]) of
                match -> {ok, Prefix};
                nomatch -> error
            end;
        error ->
            error
    end.

-spec describe() -> binary().
describe() ->
    <<"a text of letters, digits, dots, dashes and underscores">>.

%% @doc A name that has the prefix. A pattern of names (`^...') gets it behind its `^', and
%% each of its alternatives does.
-spec add(prefix(), Name :: binary()) -> binary().
add(undefined, Name) ->
    Name;
add(Prefix, <<"^", Pattern/binary>>) ->
    Escaped = re:replace(Prefix, "\\.", "\\\\.", [global, {return, binary}]),
    Alternatives = [begins(Prefix, Escaped, Each) || Each <- alternatives(Pattern)],
    iolist_to_binary([$^ | lists:join("|^", Alternatives)]);
add(Prefix, Name) ->
    case starts_with(Prefix, Name) of
        true -> Name;
        false -> <<Prefix/binary, Name/binary>>
    end.

%% Within brackets a | may be anything else.
-spec alternatives(Pattern :: binary()) -> [binary()].
alternatives(Pattern) ->
    case binary:match(Pattern, [<<"(">>, <<"[">>]) of
        nomatch -> re:split(Pattern, "\\|\\^?");
        _ -> [Pattern]
    end.

-spec begins(binary(), binary(), Pattern :: binary()) -> binary().
begins(Prefix, Escaped, Pattern) ->
    IsWhole = starts_with(Prefix, Pattern) orelse starts_with(Escaped, Pattern),
    case {IsWhole, binary:match(Pattern, <<"|">>)} of
        {true, _} ->
            Pattern;
        {false, nomatch} ->
            <<Escaped/binary, Pattern/binary>>;
        {false, _} ->
            Each = binary:replace(Pattern, <<"|^">>, <<"|">>, [global]),
            <<Escaped/binary, "(", Each/binary, ")">>
    end.

-spec starts_with(binary(), binary()) -> boolean().
starts_with(Prefix, Name) ->
    binary:longest_common_prefix([Prefix, Name]) =:= byte_size(Prefix).

%% @doc What a handler is given, its topic without the prefix.
-spec strip(prefix(), Given) -> Given when Given :: map() | [map()].
strip(undefined, Given) ->
    Given;
strip(Prefix, Messages) when is_list(Messages) ->
    [strip(Prefix, Message) || Message <- Messages];
strip(Prefix, #{topic := Topic} = Given) ->
    Size = byte_size(Prefix),
    case Topic of
        <<Prefix:Size/binary, Rest/binary>> -> Given#{topic := Rest};
        _ -> Given
    end.

%% @doc Parsed options with the names as brokers know them.
-spec names(map()) -> map().
names(#{prefix := Prefix} = Options) when is_binary(Prefix) ->
    maps:map(fun(Option, Value) -> name(Option, Value, Prefix) end, Options);
names(Options) ->
    Options.

-spec name(atom(), term(), binary()) -> term().
name(_, undefined, _) ->
    undefined;
name(Option, Name, Prefix) when Option =:= group; Option =:= topic ->
    add(Prefix, Name);
name(topics, Topics, Prefix) ->
    lists:uniq([add(Prefix, Topic) || Topic <- Topics]);
name(retry_topics, Topics, Prefix) ->
    [{add(Prefix, Topic), Delay} || {Topic, Delay} <- Topics];
name(dead_letter, #{topic := Topic} = Letters, Prefix) ->
    Letters#{topic := add(Prefix, Topic)};
name(topic_partitioners, Topics, Prefix) ->
    maps:from_list([{add(Prefix, Topic), Strategy} || {Topic, Strategy} <- maps:to_list(Topics)]);
name(partitions, Places, Prefix) ->
    places(Prefix, Places);
name(Option, #{} = Places, Prefix) when Option =:= from; Option =:= to ->
    {Keys, Values} = lists:unzip(maps:to_list(Places)),
    maps:from_list(lists:zip(places(Prefix, Keys), Values));
name(_, Value, _) ->
    Value.

-spec places(binary(), [{binary(), non_neg_integer()} | non_neg_integer()]) -> list().
places(Prefix, Places) ->
    [
        case Place of
            {Topic, Partition} -> {add(Prefix, Topic), Partition};
            Partition -> Partition
        end
     || Place <- Places
    ].

%% @doc A request of {@link crema_control} with the names as brokers know them: who
%% handles messages may know topics without their prefix.
-spec request(prefix(), Request) -> Request when Request :: term().
request(undefined, Request) ->
    Request;
request(Prefix, {subscribe, {Change, Topics}}) ->
    {subscribe, {Change, [add(Prefix, Topic) || Topic <- Topics]}};
request(Prefix, Request) when is_tuple(Request), is_list(element(2, Request)) ->
    setelement(2, Request, places(Prefix, element(2, Request)));
request(_Prefix, Request) ->
    Request.
