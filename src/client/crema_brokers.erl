%% @private What becomes of the connections to brokers, by librdkafka's log: which
%% of its lines are news.
%%
%% A connection that is closed is no trouble by itself: brokers close those that
%% are idle, and librdkafka makes another when there is need of it. An attempt that
%% fails is one. But of several addresses of a name one may refuse and another answer
%% (`localhost', of a broker that listens on 127.0.0.1 only), so that what is not
%% certain must happen more than once in a row.
-module(crema_brokers).

-export([new/0, heard/4, reason/3, all_down/1, forget/1, is_forgotten/1, is_heard/1]).
-export([hint/1, causes/0, doc/0]).

-export_type([brokers/0, cause/0, trouble/0]).

-type cause() ::
    refused | unreachable | unanswered | unknown_host | tls | authentication | mechanism | protocol | other.

-type trouble() :: #{
    broker := binary(), cause := cause(), code := crema_error:code(), text := binary()
}.

-record(brokers, {
    %% what was last heard of each, and how often in a row
    links = #{} :: #{binary() => up | closed | {cause(), pos_integer()}},
    %% told since the last good news, and when first
    told = #{} :: #{binary() => {[cause()], Since :: integer()}},
    %% librdkafka has said so, and nothing better since (it does not always)
    all_down = false :: boolean()
}).
-opaque brokers() :: #brokers{}.

-spec new() -> brokers().
new() -> #brokers{}.

%% @doc A line of the log: facility and text, and whether a broker has answered since
%% the last trouble with all.
-spec heard(Facility :: binary(), Text :: binary(), Connected :: boolean(), brokers()) ->
    {nothing, brokers()}
    %% `suspected' until it is certain, then `new' until it has been told; the last is
    %% whether no broker is left.
    | {trouble, suspected | new | told, trouble(), AllDown :: boolean(), brokers()}
    %% One that was told of is well again, after so many milliseconds.
    | {repaired, binary(), non_neg_integer(), brokers()}.
heard(<<"STATE">>, Text, Connected, Brokers) ->
    case re:run(Text, up_pattern(), [{capture, all_but_first, binary}]) of
        {match, [Broker]} -> up(Broker, Connected, Brokers);
        nomatch -> {nothing, Brokers}
    end;
heard(<<"FAIL">>, Text, Connected, Brokers) ->
    case re:run(Text, fail_pattern(), [dotall, {capture, all_but_first, binary}]) of
        {match, [Broker, What, State, Name]} ->
            Code = crema_error:code(Name),
            Cause = cause(Code, What, State, Connected),
            failed(Broker, Cause, {Code, What, State}, Brokers);
        nomatch ->
            {nothing, Brokers}
    end;
heard(_, _, _, Brokers) ->
    {nothing, Brokers}.

%% `[thrd:THREAD]: ssl://host:9092/1: '. Coordinators have a connection of their own
%% and a name without a port: what befalls them, befalls their broker.
-define(NAME, "^(?:\\[thrd:.*?\\]: )?(?:\\w+://)?(\\S+:\\d+)(?:/\\S+)?: ").

-spec up_pattern() -> string().
up_pattern() -> ?NAME "Broker changed state \\S+ -> UP$".

-spec fail_pattern() -> string().
fail_pattern() ->
    ?NAME "(.*) \\(after \\d+ms in state (\\w+).*\\) \\((\\w+)\\)"
    "(?:: identical to last error)?(?:: error log suppressed)?$".

%% @doc The error of a trouble. `Why' a broker's certificate was refused, if it was: now
%% and then librdkafka takes that for a failure of the transport. `Login': what to say
%% of a log-in that is refused, for all that is known beforehand.
-spec reason(trouble(), Why :: binary(), Login :: binary()) -> crema_error:reason().
reason(Trouble, Why, Login) when Why =/= <<>> ->
    reason(Trouble#{code := ssl, text := Why}, <<>>, Login);
reason(#{broker := Broker, cause := Cause, code := Code, text := Text}, <<>>, Login) ->
    Hint =
        case Cause of
            authentication when Login =/= <<>> ->
                <<Login/binary, " With older brokers: ", (crema_error:hint(Code))/binary>>;
            other -> crema_error:hint(Code);
            _ -> hint(Cause)
        end,
    Details = #{broker => Broker, cause => Cause},
    {error, Reason} = crema_error:make(Code, [Broker, ": ", Text], Details, Hint),
    Reason.

%% The same is told twice: as an error too, whose text is that of the line.
-spec is_heard(crema_error:reason()) -> boolean().
is_heard({_, #{message := Text}}) ->
    re:run(Text, "\\(after \\d+ms in state \\w+", [{capture, none}]) =:= match.

-spec up(binary(), Connected :: boolean(), brokers()) ->
    {nothing, brokers()} | {repaired, binary(), non_neg_integer(), brokers()}.
up(Broker, Connected, #brokers{links = Links, told = Told} = Brokers) ->
    New = Brokers#brokers{links = Links#{Broker => up}, all_down = false},
    case Told of
        #{Broker := {Causes, Since}} when Connected ->
            case lists:member(protocol, Causes) of
                %% It comes up whenever it is tried, and is closed when it is used.
                true -> {nothing, New};
                false -> {repaired, Broker, since(Since), untold(Broker, New)}
            end;
        #{} ->
            %% Without any, the first answer will tell.
            {nothing, New}
    end.

-spec untold(binary(), brokers()) -> brokers().
untold(Broker, #brokers{told = Told} = Brokers) ->
    Brokers#brokers{told = maps:remove(Broker, Told)}.

-spec since(integer()) -> non_neg_integer().
since(Time) -> crema_deadline:now() - Time.

-spec failed(binary(), cause() | closed, {crema_error:code(), binary(), binary()}, brokers()) ->
    {nothing, brokers()}
    | {trouble, suspected | new | told, trouble(), boolean(), brokers()}.
failed(_, _, {Code, _, _}, Brokers) when
    %% The client ends, or knows the broker by another name.
    Code =:= destroy; Code =:= destroy_broker; Code =:= intr
->
    {nothing, Brokers};
failed(Broker, closed, _, #brokers{links = Links} = Brokers) ->
    {nothing, Brokers#brokers{links = Links#{Broker => closed}}};
failed(Broker, Cause, {Code, What, State}, #brokers{links = Links} = Brokers) ->
    Times =
        case Links of
            #{Broker := {Cause, Before}} -> Before + 1;
            #{} -> 1
        end,
    New = Brokers#brokers{links = Links#{Broker => {Cause, Times}}},
    {News, Told} =
        case Times >= certain(Cause, State, Broker) of
            true -> told(Broker, Cause, New);
            false -> {suspected, New}
        end,
    Text =
        case Code of
            bad_msg when Cause =:= protocol -> unlike(What);
            _ -> text(What)
        end,
    Trouble = #{broker => Broker, cause => Cause, code => Code, text => Text},
    {trouble, News, Trouble, are_down(Told), Told}.

%% The size is of four letters.
-spec unlike(binary()) -> binary().
unlike(What) ->
    case binary:match(What, integer_to_binary(binary:decode_unsigned(<<"HTTP">>))) of
        nomatch -> <<"what it answers is not of Kafka">>;
        _ -> <<"what it answers is not of Kafka, but of a web server (HTTP)">>
    end.

%% How often in a row: of a name another address may answer, and a broker that is
%% about to stop hangs up.
-spec certain(cause(), State :: binary(), Broker :: binary()) -> pos_integer().
certain(Cause, _, Broker) when Cause =:= refused; Cause =:= unreachable ->
    Host = re:replace(Broker, "^\\[?(.*?)\\]?:\\d+$", "\\1", [{return, list}]),
    case inet:parse_strict_address(Host) of
        {ok, _} -> 1;
        {error, _} -> 2
    end;
certain(protocol, <<"APIVERSION_QUERY">>, _) ->
    3;
certain(authentication, <<"AUTH_LEGACY">>, _) ->
    3;
certain(_, _, _) ->
    1.

%% No broker that was heard of is up, or has only closed a connection.
-spec are_down(brokers()) -> boolean().
are_down(#brokers{all_down = AllDown, links = Links}) ->
    AllDown orelse [Link || Link <- maps:values(Links), Link =:= up orelse Link =:= closed] =:= [].

-spec told(binary(), cause(), brokers()) -> {new | told, brokers()}.
told(Broker, Cause, #brokers{told = Told} = Brokers) ->
    {Causes, Since} = maps:get(Broker, Told, {[], crema_deadline:now()}),
    case lists:member(Cause, Causes) of
        true -> {told, Brokers};
        false -> {new, Brokers#brokers{told = Told#{Broker => {[Cause | Causes], Since}}}}
    end.

%% As everything about librdkafka's connections has the context "broker" on, it
%% names the place in OpenSSL's source as well.
-spec text(binary()) -> binary().
text(What) ->
    re:replace(What, "\\S+\\.c:\\d+:\\S* (?=error:)", "", [global, {return, binary}]).

-spec cause(crema_error:code(), binary(), State :: binary(), Connected :: boolean()) ->
    cause() | closed.
cause(_, _, <<"UP">>, true) ->
    %% Whether another connection can be made is not known yet.
    closed;
%% The first answer of all: what is taken for its size is text, or TLS.
cause(bad_msg, _, <<"APIVERSION_QUERY">>, _) ->
    protocol;
cause(Code, What, State, _) ->
    case first(What, patterns()) of
        unanswered when State =:= <<"UP">> -> closed;
        %% Before anything was answered; on a connection that is up, requests.
        hung_up when State =:= <<"UP">>; State =:= <<"APIVERSION_QUERY">> -> protocol;
        %% Without an answer that says so: older brokers refuse a log-in so.
        hung_up -> cause_of(Code);
        unreachable -> unreachable(What);
        none -> cause_of(Code);
        Cause -> Cause
    end.

%% Who listened there stopped while the connection was made.
-spec unreachable(binary()) -> refused | unreachable.
unreachable(What) ->
    case binary:match(What, <<"reset by peer">>) of
        nomatch -> unreachable;
        _ -> refused
    end.

-spec cause_of(crema_error:code()) -> cause() | closed.
cause_of(transport) -> closed;
cause_of(resolve) -> unknown_host;
cause_of(ssl) -> tls;
cause_of(timed_out) -> unanswered;
cause_of(authentication) -> authentication;
cause_of(sasl_authentication_failed) -> authentication;
cause_of(unsupported_sasl_mechanism) -> mechanism;
cause_of(_) -> other.

%% The first that the text has.
-spec first(binary(), [{binary(), cause() | hung_up}]) -> cause() | hung_up | none.
first(_, []) ->
    none;
first(What, [{Pattern, Cause} | Rest]) ->
    case binary:match(What, Pattern) of
        nomatch -> first(What, Rest);
        _ -> Cause
    end.

-spec patterns() -> [{binary(), cause() | hung_up}].
patterns() ->
    [
        {<<"wrong version number">>, protocol},
        {<<"unexpected eof while reading">>, protocol},
        {<<"PLAINTEXT broker listener">>, protocol},
        {<<"not valid in current SASL state">>, protocol},
        {<<"Unsupported SASL mechanism">>, mechanism},
        {<<"security.protocol">>, protocol},
        {<<"requesting ApiVersion">>, protocol},
        {<<"Connection refused">>, refused},
        {<<"timed out">>, unanswered},
        {<<"Connect to ">>, unreachable},
        {<<"SSL routines">>, tls},
        {<<"SSL handshake failed">>, tls},
        {<<"Disconnected">>, hung_up},
        {<<"reset by peer">>, hung_up}
    ].

%% @doc librdkafka says that all brokers are down.
-spec all_down(brokers()) -> brokers().
all_down(Brokers) -> Brokers#brokers{all_down = true}.

%% @doc Good news: what comes after it is told anew.
-spec forget(brokers()) -> brokers().
forget(Brokers) -> Brokers#brokers{told = #{}, all_down = false}.

%% @doc Whether nothing is told that is not repaired.
-spec is_forgotten(brokers()) -> boolean().
is_forgotten(#brokers{told = Told}) -> map_size(Told) =:= 0.

%% @doc What to do about a cause; empty where only the code tells.
-spec hint(cause()) -> binary().
hint(Cause) ->
    maps:get(Cause, causes(), <<>>).

%% @doc Each cause with what to do.
-spec causes() -> #{cause() => binary()}.
causes() ->
    #{
        refused =>
            <<"Nothing listens at that port: check that the broker runs, the port in "
                "bootstrap_servers, and what the brokers advertise (advertised.listeners).">>,
        unreachable =>
            <<"No way leads to that address: check the network, firewalls, and what the host name "
                "resolves to.">>,
        unanswered =>
            <<"Nothing answers there: check firewalls on the way, that the broker is not stopped or "
                "overloaded, and that bootstrap_servers names the right host.">>,
        unknown_host =>
            <<"The host name cannot be resolved: check bootstrap_servers, DNS, and the names the "
                "brokers advertise (advertised.listeners).">>,
        tls =>
            <<"TLS failed: check that ssl.ca.pem or ssl.ca.location is the authority of the broker's "
                "certificate, that this is for the host name, and that the broker has the "
                "client's certificate if it asks for one.">>,
        protocol =>
            <<"The port speaks another protocol: set security.protocol to what the listener speaks "
                "(plaintext, ssl, sasl_plaintext or sasl_ssl), or name the port of the right one "
                "in bootstrap_servers.">>,
        authentication => crema_error:hint(authentication),
        mechanism => crema_error:hint(unsupported_sasl_mechanism)
    }.

%% @doc The table as markdown.
-spec doc() -> binary().
doc() ->
    unicode:characters_to_binary([
        "| Cause | What to do |\n|---|---|\n"
        | [
            io_lib:format("| `~s` | ~ts |\n", [Cause, Hint])
         || {Cause, Hint} <- lists:sort(maps:to_list(causes()))
        ]
    ]).
