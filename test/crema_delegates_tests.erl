-module(crema_delegates_tests).

-include_lib("eunit/include/eunit.hrl").

%% A process of a node that is not there: `{crema_delegated, ...}' comes all the same.
far() ->
    Node = <<"nobody@nowhere">>,
    binary_to_term(<<131, 88, 119, (byte_size(Node)), Node/binary, 1:32, 0:32, 1:32>>).

%% Nothing is asked of a driver before there is much to look after.
new() ->
    crema_delegates:new(hd(erlang:ports()), 1).

late(Delegates) ->
    receive
        Message when element(1, Message) =:= crema_delegated ->
            {failed, Failed, ack_timeout, New} = crema_delegates:handle(Message, Delegates),
            {Failed, New}
    after 5000 -> error(nothing_came)
    end.

some(Offsets) -> [{1, crema_runs:of_offsets(Offsets)}].

late_test() ->
    %% What a process of another node has had for too long has failed, once.
    First = crema_delegates:add(some([1, 2, 5]), far(), new()),
    {Failed, Second} = late(First),
    ?assertEqual([{1, [{5, 5}, {1, 2}]}], Failed),
    {[], _} = late(crema_delegates:add(some([1]), self(), again(Second))).

%% It has the first message once more.
again(Delegates) ->
    crema_delegates:add(some([1]), far(), Delegates).

handed_on_test() ->
    %% The time of who had a message before does not count for who has it now; that of
    %% the others does.
    One = crema_delegates:add(some([1, 2]), far(), new()),
    Two = crema_delegates:add(some([2]), self(), One),
    {Failed, _} = late(Two),
    ?assertEqual([{1, [{1, 1}]}], Failed).

renewed_test() ->
    %% Nor does that of the same process, when it is told of the message again.
    One = crema_delegates:add(some([1]), far(), new()),
    Two = crema_delegates:add(some([1]), far(), One),
    {[], Three} = late(Two),
    {[{1, [{1, 1}]}], _} = late(Three).
