%% @private A connection with TLS: the driver makes it (c_src/core/probe.c), by the
%% library and the settings that librdkafka uses, and here is said what it met.
-module(crema_check_tls).

-include("../port/crema_commands.hrl").

-export([ask/6, is_spoken/4, judge/4]).

-export_type([fact/0]).

-type fact() :: {atom(), term()}.

%% Of OpenSSL's verdicts, those that say more than that nobody here signed it.
-define(NOT_YET_VALID, 9).
-define(EXPIRED, 10).
%% Of TLS's alerts.
-define(HANDSHAKE_FAILURE, 40).
-define(PROTOCOL_VERSION, 70).
-define(INSUFFICIENT_SECURITY, 71).
-define(IS_OF_CERTIFICATE(Alert), (Alert >= 41 andalso Alert =< 49 orelse Alert =:= 116)).

%% @doc What was met at an address, in order.
-spec ask(
    inet:ip_address(),
    inet:port_number(),
    Host :: binary(),
    crema_check_security:security(),
    [binary()],
    crema_deadline:deadline()
) -> [fact()].
ask(Address, Port, Host, Security, Requests, Deadline) ->
    Settings = fun() -> crema_check_security:settings(Security) end,
    facts(peer(Address, Port, Host, Settings, Requests, Deadline)).

%% @doc Whether it is TLS that is spoken there, by whomever.
-spec is_spoken(
    inet:ip_address(), inet:port_number(), Host :: binary(), crema_deadline:deadline()
) -> boolean().
is_spoken(Address, Port, Host, Deadline) ->
    Facts = facts(peer(Address, Port, Host, fun() -> [] end, [], Deadline)),
    lists:member({reached, greeted}, Facts) orelse lists:member({failed, alert}, Facts).

%% Settings may be secrets: they are read when they are packed.
-spec peer(
    inet:ip_address(),
    inet:port_number(),
    binary(),
    fun(() -> [{binary(), binary()}]),
    [binary()],
    crema_deadline:deadline()
) -> {ok, [fact()]} | crema_error:error().
peer(Address, Port, Host, Settings, Requests, Deadline) ->
    To = list_to_binary(inet:ntoa(Address)),
    Framed = [<<(byte_size(Request)):32, Request/binary>> || Request <- Requests],
    case crema_port:open(client) of
        {ok, Driver} ->
            Command = fun(Tag) ->
                Left = crema_deadline:left(Deadline),
                {?CMD_PROBE, term_to_binary({Tag, To, Port, Host, Settings(), Framed, Left})}
            end,
            Answer = crema_port:ask(Driver, Command, infinity, none),
            ok = crema_port:close(Driver),
            Answer;
        Error ->
            Error
    end.

-spec facts({ok, [fact()]} | crema_error:error()) -> [fact()].
facts({ok, Facts}) -> Facts;
facts({error, {_, #{message := Message}}}) -> [{failed, system}, {text, Message}].

%% @doc Steps tls and kafka.
-spec judge(binary(), binary(), crema_check_security:security(), [fact()]) ->
    {[crema_check_step:step()], unknown | [binary()]}.
judge(Subject, Host, Security, Facts) ->
    Known = (maps:from_list(Facts))#{names => [Name || {name, Name} <- Facts]},
    Certificate = certificate(Known),
    case fault(Host, Security, Known) of
        {Code, Message} ->
            {[crema_check_step:failed(tls, Subject, Code, Message, Certificate)], unknown};
        none ->
            Tls = crema_check_step:ok(tls, Subject, summary(Certificate), Certificate),
            {Step, Mechanisms} = kafka(Subject, Known, [A || {answer, A} <- Facts]),
            {[Tls, Step], Mechanisms}
    end.

-spec certificate(map()) -> map().
certificate(#{subject := _} = Known) ->
    Keys = [protocol, cipher, subject, names, issuer, not_before, not_after, verified, host_matches],
    maps:with(Keys, Known);
certificate(Known) ->
    maps:with([protocol, cipher], Known).

-spec fault(binary(), crema_check_security:security(), map()) ->
    {crema_error:code(), iodata()} | none.
fault(_Host, _Security, #{bad_setting := Property}) ->
    {tls_settings, ["of no use: ", Property]};
fault(Host, Security, #{subject := _} = Known) ->
    case {demands(Security), Known} of
        {{true, _}, #{verdict := Verdict}} when Verdict =/= 0 -> untrusted(Known);
        {{true, true}, #{host_matches := false}} -> not_of_host(Host, Known);
        _ -> after_greeting(Known)
    end;
fault(_Host, _Security, #{failed := closed}) ->
    {tls_not_spoken, "the connection was closed when TLS was begun: does the port speak it?"};
fault(_Host, _Security, #{failed := not_tls}) ->
    {tls_not_spoken, "what answers there is no TLS"};
fault(_Host, _Security, #{failed := timed_out}) ->
    {no_answer, "connections are taken, and the beginning of TLS is not answered"};
fault(_Host, _Security, #{failed := alert, alert := ?HANDSHAKE_FAILURE, text := Text} = Known) when
    map_get(reached, Known) =/= agreed
->
    refused(?INSUFFICIENT_SECURITY, Text);
fault(_Host, _Security, #{failed := alert, alert := Alert, text := Text}) ->
    refused(Alert, Text);
fault(_Host, _Security, Known) ->
    {tls_failed, maps:get(text, Known, "no reason is known")}.

%% Whether the chain, and whether the name, must be right.
-spec demands(crema_check_security:security()) -> {boolean(), boolean()}.
demands(Security) ->
    Settings = maps:from_list([
        {Key, string:lowercase(Value)}
     || {Key, Value} <- crema_check_security:settings(Security),
        binary:match(Key, [<<"verification">>, <<"identification">>]) =/= nomatch
    ]),
    {
        maps:get(<<"enable.ssl.certificate.verification">>, Settings, <<>>) =/= <<"false">>,
        maps:get(<<"ssl.endpoint.identification.algorithm">>, Settings, <<>>) =/= <<"none">>
    }.

-spec untrusted(map()) -> {crema_error:code(), iodata()}.
untrusted(#{verdict := Verdict} = Known) when Verdict =:= ?EXPIRED; Verdict =:= ?NOT_YET_VALID ->
    {tls_expired, not_in_force(os:system_time(second), Known)};
untrusted(#{verified := Why, issuer := Issuer} = Known) ->
    {tls_untrusted, [
        "the certificate of ", whose(Known), ", signed by ", Issuer, ", is not trusted: ", Why
    ]}.

-spec not_in_force(integer(), map()) -> iodata().
not_in_force(Now, #{not_after := Until} = Known) when Now > Until ->
    ["the certificate of ", whose(Known), " has expired on ", day(Until)];
not_in_force(Now, #{not_before := From} = Known) when Now < From ->
    ["the certificate of ", whose(Known), " is valid only from ", day(From), " on"];
not_in_force(_Now, Known) ->
    ["a certificate above that of ", whose(Known), " has expired, or is not valid yet"].

-spec not_of_host(binary(), map()) -> {crema_error:code(), iodata()}.
not_of_host(Host, Known) ->
    Names = lists:join(", ", maps:get(names, Known)),
    {tls_host_mismatch, [
        "the certificate is of ", whose(Known), " (its alternative names: ", Names,
        ") and not of ", Host
    ]}.

-spec whose(map()) -> iodata().
whose(#{subject := Subject}) -> Subject.

-spec day(integer()) -> string().
day(Seconds) ->
    lists:sublist(calendar:system_time_to_rfc3339(Seconds, [{offset, "Z"}]), 10).

%% By TLS 1.3 a client's own certificate is judged after the greeting.
-spec after_greeting(map()) -> {crema_error:code(), iodata()} | none.
after_greeting(#{failed := alert, alert := Alert, text := Text}) -> refused(Alert, Text);
after_greeting(_) -> none.

-spec refused(integer(), binary()) -> {crema_error:code(), iodata()}.
refused(Alert, Text) when ?IS_OF_CERTIFICATE(Alert); Alert =:= ?HANDSHAKE_FAILURE ->
    {tls_client_refused, ["the broker refuses the client: ", Text]};
refused(Alert, Text) when Alert =:= ?PROTOCOL_VERSION; Alert =:= ?INSUFFICIENT_SECURITY ->
    {tls_failed, ["the broker wants other versions or ciphers: ", Text]};
refused(_Alert, Text) ->
    {tls_failed, ["the broker ended it: ", Text]}.

-spec summary(map()) -> iodata().
summary(#{subject := Subject, issuer := Issuer, not_after := Until} = Certificate) ->
    #{protocol := Protocol, cipher := Cipher, verified := Verified, host_matches := Matches} =
        Certificate,
    [
        [Protocol, ", ", Cipher, "; ", Subject, " until ", day(Until), ", signed by ", Issuer],
        ["; not trusted (" ++ binary_to_list(Verified) ++ ")" || Verified =/= <<"ok">>],
        ["; of another host" || not Matches]
    ];
summary(_) ->
    "without a certificate".

-spec kafka(binary(), map(), [binary()]) ->
    {crema_check_step:step(), unknown | [binary()]}.
kafka(Subject, Known, Answers) ->
    case crema_check_wire:answered(Answers) of
        #{kafka := true, mechanisms := Mechanisms} ->
            {crema_check_step:ok(kafka, Subject, "a broker answers"), Mechanisms};
        _ ->
            {crema_check_plain:no_kafka(Subject, maps:get(failed, Known, other)), unknown}
    end.
