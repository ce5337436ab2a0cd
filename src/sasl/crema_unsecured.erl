%% @private Tokens that nobody has signed, as librdkafka makes them of
%% `sasl.oauthbearer.config'.
-module(crema_unsecured).

-export([token/1]).

-define(LIFETIME, 3600000).

-spec token(map() | binary() | string()) -> {ok, crema_sasl:token()} | {error, iodata()}.
token(#{principal := Principal} = Claims) ->
    Scope = [text(Role) || Role <- maps:get(scope, Claims, [])],
    made(#{
        principal => {<<"sub">>, text(Principal)},
        scope => {<<"scope">>, Scope},
        lifetime => maps:get(lifetime, Claims, ?LIFETIME),
        extensions => maps:get(extensions, Claims, #{})
    });
token(Claims) when is_map(Claims) ->
    {error, "a principal is needed"};
token(Config) ->
    Words = binary:split(text(Config), <<" ">>, [global, trim_all]),
    case lists:foldl(fun word/2, #{extensions => #{}}, Words) of
        #{bad := What} ->
            {error, ["sasl.oauthbearer.config has ", What]};
        #{<<"principal">> := Principal, extensions := Extensions} = Read ->
            made(#{
                principal => {maps:get(<<"principalClaimName">>, Read, <<"sub">>), Principal},
                scope => {
                    maps:get(<<"scopeClaimName">>, Read, <<"scope">>),
                    string:lexemes(maps:get(<<"scope">>, Read, <<>>), ",")
                },
                lifetime => maps:get(<<"lifeSeconds">>, Read, ?LIFETIME),
                extensions => Extensions
            });
        #{} ->
            {error, "sasl.oauthbearer.config has no principal"}
    end.

%% Nothing of it is shown: the property counts as a secret.
-spec word(binary(), map()) -> map().
word(Word, Read) ->
    case binary:split(Word, <<"=">>) of
        [<<"extension_", Name/binary>>, Value] ->
            maps:update_with(extensions, fun(Known) -> Known#{Name => Value} end, Read);
        [<<"lifeSeconds">> = Key, Value] ->
            case string:to_integer(Value) of
                {Seconds, <<>>} when is_integer(Seconds), Seconds > 0 ->
                    Read#{Key => Seconds * 1000};
                _ ->
                    Read#{bad => "a lifeSeconds that is no number above 0"}
            end;
        [Key, Value] when
            Key =:= <<"principal">>;
            Key =:= <<"principalClaimName">>;
            Key =:= <<"scope">>;
            Key =:= <<"scopeClaimName">>
        ->
            Read#{Key => Value};
        _ ->
            Read#{bad => "something else than principal, principalClaimName, scope, scopeClaimName, "
                "lifeSeconds and extension_NAME, each with = and a value"}
    end.

-spec made(map()) -> {ok, crema_sasl:token()}.
made(#{principal := {Claim, Principal}, scope := Scope, lifetime := Life, extensions := More}) ->
    Now = erlang:system_time(millisecond),
    Claims = [{Claim, [$", escaped(Principal), $"]}, {"iat", seconds(Now)}, {"exp", seconds(Now + Life)}],
    Payload = [${, lists:join($,, [[$", K, "\":", V] || {K, V} <- Claims ++ roles(Scope)]), $}],
    {ok, #{
        token => [base64url(<<"{\"alg\":\"none\"}">>), $., base64url(iolist_to_binary(Payload)), $.],
        expires_at => Now + Life,
        principal => Principal,
        extensions => More
    }}.

-spec roles({binary(), [binary()]}) -> [{binary(), iodata()}].
roles({_, []}) -> [];
roles({Claim, Roles}) -> [{Claim, [$[, lists:join($,, [[$", escaped(R), $"] || R <- Roles]), $]]}].

-spec seconds(integer()) -> iodata().
seconds(Millis) -> io_lib:format("~b.~3..0b", [Millis div 1000, Millis rem 1000]).

-spec escaped(binary()) -> binary().
escaped(Text) ->
    re:replace(Text, "[\"\\\\]", "\\\\&", [global, {return, binary}]).

-spec text(iodata() | atom()) -> binary().
text(Given) ->
    {ok, Text} = crema_input:text(Given),
    Text.

-spec base64url(binary()) -> binary().
base64url(Bytes) ->
    << <<(letter(C))>> || <<C>> <= base64:encode(Bytes), C =/= $= >>.

-spec letter(byte()) -> byte().
letter($+) -> $-;
letter($/) -> $_;
letter(C) -> C.
