%% @private What a membership needs that the options by themselves do not tell: an
%% instance id that nobody else in this VM has, and a librdkafka that knows the
%% group's protocol.
-module(crema_membership).

-export([check/2]).

%% The first librdkafka whose `group.protocol=consumer' is for production: 2.12.
-define(CONSUMER_PROTOCOL, 16#020c00ff).

%% @doc Before the client of that consumer is opened.
-spec check(pid(), map()) -> ok | crema_error:error().
check(Consumer, #{kafka := Kafka} = Options) ->
    case protocol(crema_properties:find(<<"group.protocol">>, Kafka)) of
        ok -> instance(crema_properties:find(<<"group.instance.id">>, Kafka), Consumer, Options);
        {error, _} = Error -> Error
    end.

-spec protocol({ok, binary(), crema_properties:value()} | none) -> ok | crema_error:error().
protocol({ok, _, <<"consumer">>}) ->
    {ok, Runtime} = crema_anchor:runtime(),
    case proplists:get_value(librdkafka_number, Runtime) of
        Number when Number >= ?CONSUMER_PROTOCOL ->
            ok;
        _ ->
            Text =
                "group.protocol=consumer needs librdkafka 2.12 or later, this is ~s: build with "
                "CREMA_LIBRDKAFKA=bundled",
            Version = proplists:get_value(librdkafka, Runtime),
            Details = #{field => <<"group.protocol">>},
            crema_error:make(unsupported_feature, io_lib:format(Text, [Version]), Details)
    end;
protocol(_) ->
    ok.

%% Brokers would fence the older of the two, and it is fenced for good. The cluster is
%% as good as the addresses it is known by.
-spec instance({ok, binary(), crema_properties:value()} | none, pid(), map()) ->
    ok | crema_error:error().
instance({ok, _, Id}, Consumer, #{group := Group, bootstrap_servers := Servers}) when
    is_binary(Id)
->
    Cluster = lists:sort(binary:split(Servers, <<",">>, [global])),
    case crema_registry:claim({instance, Cluster, Group, Id}, Consumer) of
        ok ->
            ok;
        {taken, Other} ->
            Text = "~p is a member of ~ts with the group.instance.id ~ts already",
            crema_error:make(instance_in_use, io_lib:format(Text, [Other, Group, Id]), #{
                field => <<"group.instance.id">>
            })
    end;
instance(_, _Consumer, _Options) ->
    ok.
