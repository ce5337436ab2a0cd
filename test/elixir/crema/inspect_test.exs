defmodule Crema.InspectTest do
  # What is shown of messages and errors is short, whatever is in them.
  use ExUnit.Case, async: true

  @message %Crema.Message{topic: "orders", partition: 3, offset: 42, value: "an espresso"}

  test "a message is shown by its place, key, value and headers" do
    assert inspect(@message) == ~s(#Crema.Message<orders [3] @ 42, value: "an espresso">)

    assert inspect(%{@message | key: "ada", headers: [{"size", "large"}, {"n", nil}]}) ==
             ~s(#Crema.Message<orders [3] @ 42, key: "ada", value: "an espresso", ) <>
               ~s(headers: [{"size", "large"}, {"n", nil}]>)

    assert inspect(%{@message | key: "", value: nil}) ==
             ~s(#Crema.Message<orders [3] @ 42, key: "", value: nil>)
  end

  test "what is large is shortened, and says how large it is" do
    large = String.duplicate("é", 1_000_000)
    headers = for n <- 1..100_000, do: {"header#{n}", large}
    shown = inspect(%{@message | key: large, value: large, headers: headers})
    assert byte_size(shown) < 1_000
    assert shown =~ "value: \"" <> String.duplicate("é", 32) <> "\"..(2000000 bytes)"
    assert shown =~ "..(99995 more)]"
    # The same cut within a character.
    assert inspect(%{@message | value: "a" <> large}) =~ "é\"..(2000001 bytes)"
  end

  test "anything may stand in a message" do
    noise = :crypto.strong_rand_bytes(500)
    assert inspect(%{@message | value: noise}) =~ ~r/value: <<\d+, .*>>\.\.\(500 bytes\)>$/

    assert inspect(%{@message | value: <<255>>, headers: [{<<254>>, <<253>>}]}) =~
             "{<<254>>, <<253>>}"

    assert inspect(%Crema.Message{}) == "#Crema.Message<nil [nil] @ nil, value: nil>"

    odd = %Crema.Message{topic: <<255>>, key: 1..2, value: [noise | :tail], headers: [:a | :b]}
    assert byte_size(inspect(odd)) < 1_000
    assert inspect(%{odd | headers: [:a, {1, 2, 3}]}) =~ "headers: [:a, {1, 2, 3}]"
  end

  test "an error is shown by its sentence" do
    details = %{message: "No", results: List.duplicate({:ok, %{value: "hunter2"}}, 10_000)}
    error = Crema.Error.exception({:timeout, details})
    assert inspect(error) == "#Crema.Error<timeout: No>"
    long = Crema.Error.exception({:timeout, %{message: String.duplicate("é", 10_000)}})
    assert String.length(inspect(long)) < 600
    assert inspect(%Crema.Error{}) == "#Crema.Error<nil>"
    assert inspect(%Crema.Error{message: <<255>>}) == "#Crema.Error<<<255>>>"
  end
end
