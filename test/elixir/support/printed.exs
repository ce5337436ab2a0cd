defmodule Crema.Printed do
  @doc "Has the test told what is printed by processes that it starts from now on."
  def to_test do
    test = self()
    Process.group_leader(test, spawn_link(fn -> print(test) end))
  end

  # A group leader that passes it on.
  defp print(test) do
    receive do
      {:io_request, from, ref, {:put_chars, _encoding, chars}} ->
        send(test, {:printed, IO.chardata_to_string(chars)})
        send(from, {:io_reply, ref, :ok})

      {:io_request, from, ref, _other} ->
        send(from, {:io_reply, ref, {:error, :request}})
    end

    print(test)
  end
end
