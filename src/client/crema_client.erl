%% @private What every process that owns a client does alike: open and close
%% it, learn whether a broker can be reached, and turn what the driver tells
%% into events, log lines and status: once per change of state, not per retry.
-module(crema_client).

-include("../port/crema_commands.hrl").

-export([open/3, known/1, close/2, leave/2, left/1, close_async/1]).
-export([new/3, new/4, attach/3, detach/1, handle/2, connected/1, login_hint/1, tell/2, fatal/2]).
-export([set/2]).
-export([metadata/1, problem/1, last_error/1, counts/1, statistics/1]).

-export_type([client/0, left/0]).

%% What became of the last commit of a group's member: its partitions were others' by then
%% (`lost'); it failed; or nothing is known of it yet.
-type left() :: ok | lost | crema_error:error() | unknown.

-record(client, {
    %% none: a producer may be without a client
    port :: crema_port:client() | none,
    kind :: crema_registry:kind(),
    name :: term(),
    %% the one that its events name: a consumer is not the process that owns it
    pid :: pid(),
    status :: map(),
    %% who gets tokens for it, monitored
    token = none :: none | crema_token:keeper(),
    %% the metadata request that will tell when a broker is there
    probe = none :: none | crema_port:tag(),
    %% codes told since the last good news
    told = #{} :: #{{crema_error:code(), term()} => true},
    brokers = crema_brokers:new() :: crema_brokers:brokers(),
    %% when the trouble was told that there is
    since = none :: none | integer(),
    %% what to say of a log-in that is refused, for all that is known beforehand
    login_hint :: binary(),
    %% decorated, the last that came
    statistics :: not_enabled | none | crema_statistics:statistics(),
    deltas :: crema_statistics:deltas()
}).
-opaque client() :: #client{}.

%% How long one metadata request may wait; another follows.
-define(PROBE_MS, 5000).

%% @doc Opens a client, owned by the caller. Waits for librdkafka to set itself
%% up, not for the network. What comes back beside the port is an embedded
%% cluster's address.
-spec open(crema_registry:kind(), [{binary(), crema_properties:value()}], [
    {binary(), integer()}
]) -> {ok, crema_port:client(), binary()} | crema_error:error().
open(Kind, Properties, Options) ->
    case crema_port:open(client) of
        {ok, Port} ->
            Command = fun(Tag) ->
                {?CMD_OPEN, term_to_binary({Tag, Kind, revealed(Properties), Options})}
            end,
            try crema_port:ask(Port, Command, infinity, none) of
                {ok, Address} ->
                    {ok, Port, Address};
                {error, Reason} ->
                    ok = crema_port:close(Port),
                    {error, with_names(Reason)}
            catch
                throw:{bad_secret, Key} ->
                    ok = crema_port:close(Port),
                    bad_secret(Key)
            end;
        Error ->
            Error
    end.

%% Of a property that librdkafka does not know: which one may have been meant.
-spec with_names(crema_error:reason()) -> crema_error:reason().
with_names({bad_options, #{faults := Faults}}) ->
    Known = crema_anchor:properties(),
    {error, Reason} = crema_port:bad_properties([
        {Name, <<Text/binary, (nearest(Name, Text, Known))/binary>>}
     || #{option := Name, reason := Text} <- Faults
    ]),
    Reason;
with_names(Reason) ->
    Reason.

-spec nearest(binary(), Text :: binary(), [binary()]) -> binary().
nearest(Name, <<"No such configuration property", _/binary>>, Known) ->
    case crema_suggest:nearest(Name, Known) of
        {ok, Meant} -> <<", did you mean ", Meant/binary, "?">>;
        none -> <<>>
    end;
nearest(_, _, _) ->
    <<>>.

-spec bad_secret(binary()) -> crema_error:error().
bad_secret(Key) ->
    Reason = <<"has a function that raised, or that returned no text: is a variable not set?">>,
    crema_error:make(bad_options, [Key, $\s, Reason], #{
        faults => [#{option => {kafka, Key}, reason => Reason}]
    }).

%% @doc Whether the librdkafka in use has a property that the oldest one lacks.
%% This one came with 2.2; without it a full prefetch queue costs a second of
%% fetching.
-spec known(binary()) -> boolean().
known(<<"fetch.queue.backoff.ms">>) ->
    case crema_anchor:runtime() of
        {ok, Runtime} -> proplists:get_value(librdkafka_number, Runtime, 0) >= 16#020200ff;
        {error, _} -> false
    end;
known(_) ->
    false.

%% Secrets become text here and nowhere earlier.
-spec revealed([{binary(), crema_properties:value()}]) -> [{binary(), binary()}].
revealed(Properties) ->
    [{Key, reveal(Key, Value)} || {Key, Value} <- Properties].

-spec reveal(binary(), crema_properties:value()) -> binary().
reveal(Key, Value) ->
    case crema_secret:reveal(Key, Value) of
        {ok, Text} ->
            Text;
        {error, _} ->
            throw({bad_secret, Key})
    end.

%% @doc Closes a client and waits until it is wholly gone, or until the deadline
%% ({@link crema_deadline}): the reaper then finishes alone.
-spec close(crema_port:client(), crema_deadline:deadline()) -> ok.
close(Port, Deadline) ->
    _ = leave(Port, Deadline),
    ok.

%% @doc The same of a group's member.
-spec leave(crema_port:client(), crema_deadline:deadline()) -> left().
leave(Port, Deadline) ->
    Ref = close_async(Port),
    receive
        {Ref, Answer} -> left(Answer)
    after max(50, crema_deadline:left(Deadline)) -> unknown
    end.

%% @doc What the answer to {@link close_async/1} says.
-spec left(gone | binary()) -> left().
left(gone) ->
    unknown;
left(Bytes) ->
    case crema_port:answer(Bytes) of
        {ok, lost} -> lost;
        {error, _} = Error -> Error;
        _ -> ok
    end.

%% @doc Closes a client; `{Ref, _}' comes when it is wholly gone, or at once when
%% its port had closed before.
-spec close_async(crema_port:client()) -> crema_port:tag().
close_async(Port) ->
    Asked = crema_port:ask_async(Port, ?CMD_CLOSE, fun(Tag) -> Tag end),
    ok = crema_port:close(Port),
    case Asked of
        {ok, Ref} ->
            Ref;
        {error, _} ->
            Ref = make_ref(),
            self() ! {Ref, gone},
            Ref
    end.

%% @doc The state of a client that was opened with these parsed options and
%% registered, or, without a port, of one that will be.
-spec new(crema_registry:kind(), crema_port:client() | none, map()) -> client().
new(Kind, Port, Options) ->
    new(Kind, Port, Options, self()).

%% @doc The same for one that users know by another process.
-spec new(crema_registry:kind(), crema_port:client() | none, map(), pid()) -> client().
new(Kind, Port, #{name := Name, statistics_deltas := Deltas} = Options, Pid) ->
    Client = #client{
        port = none,
        kind = Kind,
        name = crema_child:shown_name(Name),
        pid = Pid,
        status = #{kind => Kind, connected => false, fatal => false},
        login_hint = login_hint(Options),
        statistics = no_statistics(Options),
        deltas = Deltas
    },
    case Port of
        none -> Client;
        _ -> attach(Port, Options, Client)
    end.

%% @doc A client that had no port has one, opened with these options.
-spec attach(crema_port:client(), map(), client()) -> client().
attach(Port, Options, #client{status = Status} = Client) ->
    Attached = Client#client{
        port = Port,
        token = crema_token:start(Port, metadata(Client), Options),
        status = Status#{fatal := false, state => connecting},
        login_hint = login_hint(Options),
        statistics = no_statistics(Options)
    },
    case Attached of
        %% It has questions of its own, which would wait for this one.
        #client{kind = reader} -> Attached;
        _ -> probe(Attached)
    end.

-spec no_statistics(map()) -> not_enabled | none.
no_statistics(#{kafka := Kafka}) ->
    case crema_properties:integer(<<"statistics.interval.ms">>, Kafka, 0) of
        0 -> not_enabled;
        _ -> none
    end.

%% @doc What to say of a log-in that is refused: what is known not to work looks like
%% wrong credentials.
-spec login_hint(map()) -> binary().
login_hint(#{kafka := Kafka}) ->
    case crema_properties:find(<<"sasl.mechanism">>, Kafka) of
        {ok, _, Name} when is_binary(Name) -> crema_limits:login(Name);
        _ -> <<>>
    end.

%% @doc The client has no port any more.
-spec detach(client()) -> client().
detach(#client{status = Status} = Client) ->
    Gone = Client#client{
        port = none, probe = none, token = none, status = Status#{connected := false}
    },
    untold(Gone#client{brokers = crema_brokers:new()}).

-spec untold(client()) -> client().
untold(#client{brokers = Brokers} = Client) ->
    Client#client{told = #{}, brokers = crema_brokers:forget(Brokers), since = none}.

%% @doc Asks the cluster for its brokers: the answer says that it is there.
-spec probe(client()) -> client().
probe(#client{probe = none} = Client) ->
    Data = fun(Tag) -> term_to_binary({Tag, <<>>, 0, ?PROBE_MS}) end,
    case crema_port:ask_async(Client#client.port, ?CMD_METADATA, Data) of
        {ok, Ref} -> Client#client{probe = Ref};
        {error, _} -> Client
    end;
probe(Client) ->
    Client.

%% @doc Puts into the status, for `crema:status/1'.
-spec set(map(), client()) -> client().
set(Changes, #client{status = Status} = Client) ->
    New = maps:merge(Status, Changes),
    ok = crema_registry:set_status(self(), New),
    Client#client{status = New}.

%% @doc Metadata of every event of this client.
-spec metadata(client()) -> map().
metadata(#client{pid = Pid, name = Name}) ->
    #{client => Pid, name => Name}.

%% @doc Takes a message of the owner's mailbox. What is not for every client
%% alike comes back decoded: `{other, Term}'.
-spec handle(term(), client()) ->
    {ok, client()} | {fatal, crema_error:reason(), client()} | {other, term(), client()} | unknown.
handle({Ref, Bytes}, #client{probe = Ref} = Client) when is_reference(Ref) ->
    case crema_port:answer(Bytes) of
        {ok, _} -> {ok, connected(Client#client{probe = none})};
        {error, {closed, _}} -> {ok, Client#client{probe = none}};
        {error, Reason} -> {ok, probe(tell(Reason, Client#client{probe = none}))}
    end;
handle({crema_event, Port, Bytes}, #client{port = Port} = Client) ->
    case crema_port:event(Bytes) of
        {error, Reason} -> take_problem(Reason, Client);
        {broker, Facility, Text, Why} -> {ok, heard(Facility, Text, Why, Client)};
        {log, Level, Facility, Text, Dropped} -> {ok, log(Level, Facility, Text, Dropped, Client)};
        {certificates, Warnings} -> {ok, warn(Warnings, Client)};
        {statistics, Statistics} -> {ok, tell_statistics(Statistics, Client)};
        Other -> {other, Other, Client}
    end;
handle({crema_token, Pid, News}, #client{token = {Pid, _, _}} = Client) ->
    {ok, token_news(News, Client)};
handle({'DOWN', Monitor, _, _, Reason}, #client{token = {_, Monitor, Again}} = Client) ->
    {ok, Client#client{token = crema_token:restart(Reason, Again)}};
handle(_, _) ->
    unknown.

-spec token_news(ok | crema_error:reason(), client()) -> client().
token_news(ok, #client{told = Told} = Client) ->
    ok = log(notice, "there is a token again", #{}, Client),
    Client#client{told = maps:remove({token_failed, <<>>}, Told)};
token_news(Reason, Client) ->
    tell(Reason, Client).

%% @doc A broker has answered.
-spec connected(client()) -> client().
connected(#client{status = #{connected := true}} = Client) ->
    Client;
connected(#client{since = Since} = Client) ->
    %% The status first: whoever hears the event may look at it.
    New = set(#{connected => true, state => connected}, untold(Client)),
    Measured = maps:from_list([{duration, crema_deadline:now() - Since} || Since =/= none]),
    crema_events:execute([crema, client, connected], Measured, metadata(Client)),
    _ = Since =/= none andalso log(notice, "connected again", #{}, Client),
    New.

-spec take_problem(crema_error:reason(), client()) ->
    {ok, client()} | {fatal, crema_error:reason(), client()}.
take_problem({_, #{fatal := true}} = Reason, Client) ->
    {fatal, Reason, fatal(Reason, Client)};
take_problem({all_brokers_down, _}, #client{brokers = Brokers} = Client) ->
    %% Also when the only one has closed a connection that was idle.
    {ok, Client#client{brokers = crema_brokers:all_down(Brokers)}};
take_problem(Reason, Client) ->
    case crema_brokers:is_heard(Reason) of
        true -> {ok, Client};
        false -> {ok, tell(Reason, Client)}
    end.

%% ---- brokers ------------------------------------------------------------------------

%% What librdkafka says of a connection that came up or failed, and why a broker's
%% certificate was refused (of which librdkafka says nothing more).
-spec heard(binary(), binary(), binary(), client()) -> client().
heard(Facility, Text, Why, #client{status = #{connected := Connected}} = Client) ->
    case crema_brokers:heard(Facility, Text, Connected, Client#client.brokers) of
        {nothing, Brokers} ->
            Client#client{brokers = Brokers};
        {repaired, Broker, Time, Brokers} ->
            repaired(Broker, Time, Client#client{brokers = Brokers});
        {trouble, News, Trouble, AllDown, Brokers} ->
            Reason = crema_brokers:reason(Trouble, Why, Client#client.login_hint),
            New = Client#client{brokers = Brokers},
            case News of
                suspected when Connected -> New;
                suspected -> set(#{last_error => Reason}, New);
                _ when Connected, AllDown -> disconnected(Reason, New);
                new when Connected -> told([crema, client, broker_down], Reason, New);
                new -> told([crema, client, error], Reason, New);
                told -> New
            end
    end.

-spec disconnected(crema_error:reason(), client()) -> client().
disconnected(Reason, Client) ->
    New = told([crema, client, disconnected], Reason, Client),
    probe(set(#{connected => false, state => connecting}, New)).

%% An event, a line and the status.
-spec told(crema_events:event_name(), crema_error:reason(), client()) -> client().
told(Event, Reason, Client) ->
    crema_events:execute(Event, #{}, with_problem(Reason, Client)),
    log_problem(warning, Reason, Client),
    Since =
        case Client#client.since of
            none -> crema_deadline:now();
            Before -> Before
        end,
    set(#{last_error => Reason}, Client#client{since = Since}).

-spec repaired(binary(), non_neg_integer(), client()) -> client().
repaired(Broker, Time, #client{brokers = Brokers} = Client) ->
    Metadata = (metadata(Client))#{broker => Broker},
    crema_events:execute([crema, client, broker_up], #{duration => Time}, Metadata),
    ok = log(notice, [Broker, ": connected again"], #{}, Client),
    case crema_brokers:is_forgotten(Brokers) of
        true -> Client#client{since = none};
        false -> Client
    end.

%% @doc Tells what the client ends of.
-spec fatal(crema_error:reason(), client()) -> client().
fatal(Reason, Client) ->
    crema_events:execute([crema, client, fatal], #{}, with_problem(Reason, Client)),
    log_problem(error, Reason, Client),
    set(#{fatal => Reason, connected => false}, Client).

%% An error that is not news is not told again before the next good news. What a
%% question failed of that no broker has answered is heard of the brokers.
-spec tell(crema_error:reason(), client()) -> client().
tell({Code, _}, Client) when Code =:= timed_out; Code =:= transport ->
    Client;
tell({Code, Details} = Reason, #client{told = Told} = Client) ->
    Key = {Code, place(Code, Details)},
    case Told of
        #{Key := _} -> Client;
        _ -> told([crema, client, error], Reason, Client#client{told = Told#{Key => true}})
    end.

%% What else tells one error from another of its code. A topic's errors name the
%% topic in their text; other texts vary with every attempt.
-spec place(crema_error:code(), map()) -> term().
place(_, #{topic := Topic}) -> Topic;
place(unknown_topic_or_part, #{message := Text}) -> Text;
place(topic_authorization_failed, #{message := Text}) -> Text;
place(_, _) -> <<>>.

-spec with_problem(crema_error:reason(), client()) -> map().
with_problem(Reason, Client) ->
    maps:merge(metadata(Client), problem(Reason)).

%% @doc What events say of an error.
-spec problem(crema_error:reason()) -> map().
problem({Code, Details}) ->
    (maps:with([topic, partition, broker, cause], Details))#{
        code => Code, message => maps:get(message, Details, <<>>)
    }.

%% @doc The error that was told last, whatever has become of it.
-spec last_error(client()) -> crema_error:reason() | none.
last_error(#client{status = Status}) ->
    maps:get(last_error, Status, none).

%% @doc What the driver counts, of a client that is open: the columns of INFO.
%% A producer without a client has nothing to count.
-spec counts(crema_port:client() | none) -> #{atom() => non_neg_integer()}.
counts(none) ->
    maps:from_keys(
        [
            queue_messages,
            queue_bytes,
            accepted,
            reported,
            delivered,
            waiting_callers,
            unclaimed_reports,
            uncalled_reports
        ],
        0
    );
counts(Port) ->
    case crema_port:command(Port, ?CMD_INFO, <<>>) of
        {ok, Counts} -> maps:from_list(Counts);
        {error, _} -> #{}
    end.

-spec log_problem(logger:level(), crema_error:reason(), client()) -> ok.
log_problem(Level, {Code, _} = Reason, Client) ->
    log(Level, crema_error:format(Reason), #{code => Code}, Client).

-spec log(logger:level(), unicode:chardata(), crema_log:about(), client()) -> ok.
log(Level, Text, About, #client{kind = Kind, name = Name}) ->
    Shown = crema_child:shown_client(Name),
    crema_log:log(Level, "crema ~s ~0p: ~ts", [Kind, Shown, Text], About#{client => Shown}).

-spec log(integer(), binary(), binary(), non_neg_integer(), client()) -> client().
log(Syslog, Facility, Text, Dropped, Client) ->
    Level = level(Syslog, Facility),
    Metadata = (metadata(Client))#{level => Level, facility => Facility, message => Text},
    crema_events:execute([crema, client, log], #{dropped => Dropped}, Metadata),
    Shown = crema_child:shown_client(Client#client.name),
    crema_log:log(Level, "~ts: ~ts", [Facility, Text], #{client => Shown}),
    Client.

%% What is not wrong with certificates yet, or may be: told once, by the client's opening.
-spec warn([{Property :: binary(), Text :: binary()}], client()) -> client().
warn(Warnings, Client) ->
    lists:foreach(
        fun({Property, Text}) ->
            Metadata = (metadata(Client))#{property => Property, message => Text},
            crema_events:execute([crema, client, certificate], #{}, Metadata),
            log(warning, [Property, $\s, Text], #{}, Client)
        end,
        Warnings
    ),
    Client.

%% syslog's numbers. What becomes of connections is told by itself.
-spec level(integer(), Facility :: binary()) -> logger:level().
level(_, Facility) when Facility =:= <<"FAIL">>; Facility =:= <<"ERROR">> -> debug;
level(0, _) -> emergency;
level(1, _) -> alert;
level(2, _) -> critical;
level(N, _) when N =< 6 -> info;
level(_, _) -> debug.

-spec tell_statistics(crema_statistics:statistics(), client()) -> client().
tell_statistics(Statistics, #client{statistics = Last, deltas = Deltas} = Client) ->
    Decorated = crema_statistics:decorate(Statistics, Last, Deltas),
    crema_events:execute(
        [crema, client, statistics],
        crema_statistics:totals(Statistics),
        (metadata(Client))#{statistics => Decorated}
    ),
    Client#client{statistics = Decorated}.

%% @doc The statistics that came last.
-spec statistics(client()) -> {ok, crema_statistics:statistics()} | crema_error:error().
statistics(#client{statistics = not_enabled}) ->
    crema_error:make(not_enabled, "statistics are off", #{});
statistics(#client{statistics = none}) ->
    crema_error:make(not_yet, "no statistics have come yet", #{retriable => true});
statistics(#client{statistics = Statistics}) ->
    {ok, Statistics}.
