defmodule Crema.Kaffe.MessageHandler do
  @moduledoc """
  The behaviour of a handler of lists of messages: see `Crema.Kaffe.GroupMemberSupervisor`.

      defmodule MyApp.MessageProcessor do
        @behaviour Crema.Kaffe.MessageHandler

        @impl true
        def handle_messages(messages) do
          for %{key: key, value: value} <- messages, do: IO.puts("\#{key}: \#{value}")
          :ok
        end
      end
  """

  @typedoc "What a handler returns."
  @type result :: :ok | {:ok, :no_commit} | {:ok, offset :: integer} | {:error, reason :: term}

  @doc """
  Handles messages of one partition, in order. It returns

    * `:ok`: they are done, and all before them
    * `{:ok, :no_commit}`: go on, and commit nothing yet
    * `{:ok, offset}`: all up to and including that offset is done; go on
    * `{:error, reason}`, which Kaffe does not have: they come again after a pause

  What it raises, and anything else that it returns, is as an error.
  """
  @callback handle_messages([Crema.Kaffe.Consumer.message(), ...]) :: result
end
